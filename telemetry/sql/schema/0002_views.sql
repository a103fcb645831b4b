-- What people ask. Every day is a UTC day, every amount a whole number of nano-USD.

-- Grain: one row per UTC day on which the ledger posted. Adds up to the ledger, day by day.
CREATE VIEW posting_day AS
SELECT
    CAST(epoch_ms(ended_ms) AS DATE) AS day,
    count(*) AS entries,
    sum(cost_nano) AS cost_nano
FROM event
WHERE kind <> 'refusal'
GROUP BY ALL;

-- Grain: one row per request, as known now. Nearly every request has one event, of kind `request` or
-- `refusal`. One whose process died has none of these: it has an assumed cost, and a correction once
-- the truth arrives. Those are folded here into the row that knows most, with their costs summed.
CREATE VIEW request AS
WITH told AS (
    SELECT * FROM event WHERE kind IN ('request', 'refusal')
    UNION ALL
    SELECT
        * REPLACE (
            CAST(sum(cost_nano) OVER same_request AS BIGINT) AS cost_nano,
            CAST(sum(input_cost_nano) OVER same_request AS BIGINT) AS input_cost_nano,
            CAST(sum(output_cost_nano) OVER same_request AS BIGINT) AS output_cost_nano
        )
    FROM event
    WHERE kind IN ('assumed', 'correction')
    WINDOW same_request AS (PARTITION BY request_id)
    QUALIFY row_number() OVER (
        PARTITION BY request_id ORDER BY kind = 'correction' DESC, ended_ms DESC, event_id
    ) = 1
)
SELECT
    * EXCLUDE (event_id, schema_version, kind),
    CASE kind
        WHEN 'request' THEN 'settled'
        WHEN 'assumed' THEN 'assumed'
        WHEN 'correction' THEN 'corrected'
        ELSE 'refused'
    END AS basis,
    epoch_ms(admitted_ms) AS admitted_at,
    epoch_ms(ended_ms) AS ended_at,
    CAST(epoch_ms(admitted_ms) AS DATE) AS day,
    fresh_tokens + cached_tokens + cache_write_tokens + audio_input_tokens AS input_tokens,
    output_tokens + reasoning_tokens + audio_output_tokens AS all_output_tokens
FROM told;

-- Grain: one row per workflow and UTC day of admission.
CREATE VIEW cost_by_workflow_day AS
SELECT
    day,
    workflow,
    count(*) FILTER (basis <> 'refused') AS requests,
    count(*) FILTER (basis = 'refused') AS refused,
    count(*) FILTER (ending = 'killed') AS killed,
    sum(input_tokens) AS input_tokens,
    sum(all_output_tokens) AS output_tokens,
    sum(cost_nano) AS cost_nano
FROM request
GROUP BY ALL;

-- Grain: one row per model and UTC day of admission; refused requests reached no model.
CREATE VIEW cost_by_model_day AS
SELECT
    day,
    provider,
    model,
    count(*) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(all_output_tokens) AS output_tokens,
    sum(cost_nano) AS cost_nano
FROM request
WHERE basis <> 'refused'
GROUP BY ALL;

-- Grain: one row per team and UTC day of admission.
CREATE VIEW cost_by_team_day AS
SELECT
    day,
    org,
    team,
    count(*) FILTER (basis <> 'refused') AS requests,
    count(*) FILTER (basis = 'refused') AS refused,
    count(*) FILTER (ending = 'killed') AS killed,
    sum(input_tokens) AS input_tokens,
    sum(all_output_tokens) AS output_tokens,
    sum(cost_nano) AS cost_nano
FROM request
GROUP BY ALL;

-- Grain: one row per run; who it belongs to is told by its latest request.
CREATE VIEW run_cost AS
SELECT
    run_id,
    arg_max(org, admitted_ms) AS org,
    arg_max(team, admitted_ms) AS team,
    arg_max(key_id, admitted_ms) AS key_id,
    arg_max(workflow, admitted_ms) AS workflow,
    min(admitted_ms) AS first_admitted_ms,
    max(ended_ms) AS last_ended_ms,
    count(*) FILTER (basis <> 'refused') AS requests,
    count(*) FILTER (basis = 'refused') AS refused,
    count(*) FILTER (ending = 'killed') AS killed,
    count(DISTINCT model) FILTER (basis <> 'refused') AS models,
    sum(input_tokens) AS input_tokens,
    sum(all_output_tokens) AS output_tokens,
    sum(cost_nano) AS cost_nano
FROM request
GROUP BY run_id;
