-- question: What did each workflow cost on each day?
-- grain: one row per UTC day of admission and workflow
-- parameters: from_ms, to_ms
SELECT
    day,
    workflow,
    count(*) FILTER (basis <> 'refused') AS requests,
    sum(cost_nano) AS cost_nano
FROM request
WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms
GROUP BY day, workflow
ORDER BY day, workflow
