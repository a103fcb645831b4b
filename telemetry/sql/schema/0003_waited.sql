-- How long a request waited for money that other requests held. Nothing waited before this.
ALTER TABLE event ADD COLUMN waited_ms DOUBLE DEFAULT 0;
