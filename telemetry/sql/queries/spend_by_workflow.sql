-- question: What did each workflow cost in the period?
-- grain: one row per workflow, dearest first
-- parameters: from_ms, to_ms
SELECT
    workflow,
    count(*) FILTER (basis <> 'refused') AS requests,
    count(*) FILTER (basis = 'refused') AS refused,
    count(*) FILTER (ending = 'killed') AS killed,
    sum(input_tokens) AS input_tokens,
    sum(all_output_tokens) AS output_tokens,
    sum(cost_nano) AS cost_nano
FROM request
WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms
GROUP BY workflow
ORDER BY cost_nano DESC, workflow
