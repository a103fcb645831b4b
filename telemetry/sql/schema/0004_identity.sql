-- For which end user a request was made, and which runs opened its run (a JSON list, nearest first).
-- Nobody said so before.
ALTER TABLE event ADD COLUMN user_id VARCHAR DEFAULT 'unnamed';
ALTER TABLE event ADD COLUMN parent_runs_json VARCHAR DEFAULT '[]';
ALTER TABLE event ALTER COLUMN user_id SET NOT NULL;
ALTER TABLE event ALTER COLUMN parent_runs_json SET NOT NULL;
