-- Whether a request used what its run keeps for its landing. No run kept anything before.
ALTER TABLE event ADD COLUMN IF NOT EXISTS landed BOOLEAN DEFAULT 'false';
ALTER TABLE event ALTER COLUMN landed SET NOT NULL;
