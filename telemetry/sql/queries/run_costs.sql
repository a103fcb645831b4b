-- question: What did the finished runs of each workflow cost, and how much of a budget did each need?
-- grain: one row per workflow with counted or left-out runs; costs and needs in ascending order
-- parameters: from_ms, to_ms, idle_since_ms, open_runs, workflow, max_runs
-- A run is a team and a run id, and belongs to the workflow of its latest request. Each is counted,
-- or left out for the first of these reasons: it began before the period (its cost is not whole),
-- is unfinished (a request after idle_since_ms, or one under way: open_runs), was stopped (by a
-- budget or a rule, or cut), failed (its last request did not complete, or a cost was assumed), or
-- is older than the latest max_runs. What a run needs is the most it had posted and held at once.
WITH recent AS (
    SELECT
        team, run_id, workflow, run_source, admitted_ms, ended_ms,
        ending, status, basis, reserved_nano, cost_nano
    FROM request
    WHERE admitted_ms >= $from_ms AND admitted_ms < $to_ms
),
earlier AS (
    SELECT DISTINCT team, run_id
    FROM event
    WHERE admitted_ms < $from_ms AND run_source <> 'request'
),
move AS (
    SELECT team, run_id, admitted_ms AS at_ms, 1 AS place, reserved_nano AS nano
    FROM recent
    WHERE run_source <> 'request'
    UNION ALL
    -- What ended in the same millisecond made room for the next, but not for itself.
    SELECT team, run_id, greatest(ended_ms, admitted_ms + 1), 0, cost_nano - reserved_nano
    FROM recent
    WHERE run_source <> 'request'
),
level AS (
    SELECT
        team,
        run_id,
        sum(nano) OVER (
            PARTITION BY team, run_id ORDER BY at_ms, place ROWS UNBOUNDED PRECEDING
        ) AS nano
    FROM move
),
need AS (
    SELECT team, run_id, max(nano) AS nano
    FROM level
    GROUP BY team, run_id
),
run AS (
    SELECT
        team,
        run_id,
        arg_max(workflow, admitted_ms) AS workflow,
        max(ended_ms) AS last_ms,
        bool_and(run_source = 'request') AS single,
        sum(cost_nano) AS cost_nano,
        max(reserved_nano) AS reserved_nano,
        bool_or(ending = 'killed' OR (ending = 'refused' AND status IN (402, 403))) AS stopped,
        arg_max(ending, ended_ms) <> 'completed' OR bool_or(basis IN ('assumed', 'corrected'))
            AS failed
    FROM recent
    GROUP BY team, run_id
),
sorted AS (
    SELECT
        run.team || '/' || run.workflow AS workflow,
        run.single,
        run.cost_nano,
        coalesce(need.nano, run.reserved_nano) AS need_nano,
        CASE
            WHEN earlier.run_id IS NOT NULL THEN 'began_before'
            WHEN run.last_ms >= $idle_since_ms THEN 'unfinished'
            WHEN list_contains($open_runs::VARCHAR[], run.team || '/' || run.run_id)
                THEN 'unfinished'
            WHEN run.stopped THEN 'stopped'
            WHEN run.failed THEN 'failed'
            ELSE 'counted'
        END AS kind,
        row_number() OVER (
            PARTITION BY run.team, run.workflow, kind ORDER BY run.last_ms DESC, run.run_id
        ) AS newest
    FROM run
    LEFT JOIN need ON need.team = run.team AND need.run_id = run.run_id
    LEFT JOIN earlier ON earlier.team = run.team AND earlier.run_id = run.run_id
)
SELECT
    workflow,
    coalesce(list(CAST(cost_nano AS BIGINT) ORDER BY cost_nano)
        FILTER (kind = 'counted' AND newest <= $max_runs), []) AS costs_nano,
    coalesce(list(CAST(need_nano AS BIGINT) ORDER BY need_nano)
        FILTER (kind = 'counted' AND newest <= $max_runs), []) AS needs_nano,
    count(*) FILTER (kind = 'counted' AND newest <= $max_runs AND single) AS single_requests,
    count(*) FILTER (kind = 'counted' AND newest > $max_runs) AS older,
    count(*) FILTER (kind = 'began_before') AS began_before,
    count(*) FILTER (kind = 'unfinished') AS unfinished,
    count(*) FILTER (kind = 'stopped') AS stopped,
    count(*) FILTER (kind = 'failed') AS failed
FROM sorted
WHERE $workflow::VARCHAR IS NULL OR workflow = $workflow
GROUP BY workflow
ORDER BY workflow
