-- question: What did each scope of a kind spend of a unit (usd, tokens, requests), and since when?
-- grain: one row per scope of a kind, the one that spent most first
-- parameters: kind, unit, from_ms, to_ms
WITH spent AS (
    SELECT
        unnest(CASE $kind
            WHEN 'org' THEN [org]
            WHEN 'team' THEN [team]
            WHEN 'key' THEN [key_id]
            WHEN 'workflow' THEN [team || '/' || workflow]
            WHEN 'run' THEN list_transform(
                list_prepend(run_id, from_json(parent_runs_json, '["VARCHAR"]')),
                run -> team || '/' || run
            )
            WHEN 'user' THEN [team || '/' || user_id]
            WHEN 'model' THEN [model]
            WHEN 'tag' THEN list_transform(
                json_keys(tags_json),
                name -> team || '/' || name || '=' || (tags_json ->> ('$."' || name || '"'))
            )
        END) AS scope_id,
        admitted_ms,
        CASE $unit
            WHEN 'usd' THEN cost_nano
            WHEN 'tokens' THEN input_tokens + all_output_tokens
            WHEN 'requests' THEN CAST(usage_source <> 'none' AS BIGINT)
        END AS amount
    FROM request
    WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms
)
SELECT
    scope_id,
    count(*) AS requests,
    CAST(sum(amount) AS BIGINT) AS spent,
    min(admitted_ms) AS first_ms
FROM spent
WHERE amount > 0
GROUP BY scope_id
ORDER BY spent DESC, scope_id
