-- What was tried for a request whose first attempt brought no answer: a JSON list, in order. Where the
-- first attempt was answered it is empty, because the request itself tells all of it.
ALTER TABLE event ADD COLUMN attempts_json VARCHAR DEFAULT '[]';
ALTER TABLE event ALTER COLUMN attempts_json SET NOT NULL;

-- Grain: one row per attempt to have a request answered. `status` is 0 where no response began, and
-- `fault` says why. `took_ms` is the time to the first byte or to the failure. Only the last attempt
-- of a request can have cost anything: those before it were refused, or never reached the provider.
-- So the attempts of a request add up to its cost.
CREATE VIEW attempt AS
WITH several AS (
    SELECT
        request_id,
        admitted_ms,
        cost_nano,
        attempts,
        unnest(from_json(
            attempts_json,
            '[{"attempt":"BIGINT","model":"VARCHAR","provider":"VARCHAR","upstream_model":"VARCHAR",
               "status":"BIGINT","fault":"VARCHAR","waited_ms":"DOUBLE","took_ms":"DOUBLE"}]'
        )) AS one
    FROM request
    WHERE attempts_json <> '[]'
)
SELECT
    request_id,
    admitted_ms,
    one.attempt AS attempt,
    one.model AS model,
    one.provider AS provider,
    one.upstream_model AS upstream_model,
    one.status AS status,
    one.fault AS fault,
    one.waited_ms AS waited_ms,
    one.took_ms AS took_ms,
    CASE WHEN one.attempt = attempts THEN cost_nano ELSE 0 END AS cost_nano
FROM several
UNION ALL
SELECT
    request_id,
    admitted_ms,
    1,
    model,
    provider,
    upstream_model,
    status,
    CASE WHEN status = 0 THEN ending ELSE '' END,
    0.0,
    greatest(0.0, CASE WHEN first_byte_ms > 0 THEN first_byte_ms ELSE total_ms END
        - gateway_ms - coalesce(waited_ms, 0)),
    cost_nano
FROM request
WHERE attempts_json = '[]' AND basis <> 'refused' AND (attempts > 0 OR basis <> 'settled');
