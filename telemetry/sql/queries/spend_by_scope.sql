-- question: What did each organisation, team, key, workflow or run spend, and since when?
-- grain: one row per scope of a kind, dearest first
-- parameters: kind, from_ms, to_ms
SELECT
    CASE $kind
        WHEN 'org' THEN org
        WHEN 'team' THEN team
        WHEN 'key' THEN key_id
        WHEN 'workflow' THEN team || '/' || workflow
        WHEN 'run' THEN team || '/' || run_id
    END AS scope_id,
    count(*) AS requests,
    sum(cost_nano) AS cost_nano,
    min(admitted_ms) AS first_ms
FROM request
WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms AND cost_nano > 0
GROUP BY scope_id
ORDER BY cost_nano DESC, scope_id
