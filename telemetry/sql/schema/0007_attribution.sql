-- Who said to whom a request is charged: by party, the source and how strong it is. Before, nobody
-- but `run_source` told.
ALTER TABLE event ADD COLUMN attribution_json VARCHAR DEFAULT '{}';
ALTER TABLE event ALTER COLUMN attribution_json SET NOT NULL;
