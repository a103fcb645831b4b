-- question: What did routing save against sending everything to the frontier model?
-- grain: one row per UTC day of admission; a request without a frontier price is not compared
-- parameters: from_ms, to_ms
SELECT
    day,
    count(*) FILTER (frontier_cost_nano > 0) AS compared_requests,
    count(*) FILTER (frontier_cost_nano = 0) AS uncompared_requests,
    sum(cost_nano) AS cost_nano,
    coalesce(sum(cost_nano) FILTER (frontier_cost_nano > 0), 0) AS compared_cost_nano,
    sum(frontier_cost_nano) AS frontier_cost_nano,
    coalesce(
        sum(frontier_cost_nano - cost_nano) FILTER (frontier_cost_nano > 0), 0
    ) AS saved_nano
FROM request
WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms AND basis <> 'refused'
GROUP BY day
ORDER BY day
