-- How many requests a batch stands for: those that were answered (of an assumed cost: all), and those
-- that were not. A request of its own has 0 of both.
ALTER TABLE event ADD COLUMN batch_requests BIGINT DEFAULT 0;
ALTER TABLE event ALTER COLUMN batch_requests SET NOT NULL;
ALTER TABLE event ADD COLUMN batch_failed BIGINT DEFAULT 0;
ALTER TABLE event ALTER COLUMN batch_failed SET NOT NULL;
