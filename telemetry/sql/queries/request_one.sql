-- question: What is known about this request?
-- grain: one row, or none for a request that is unknown
-- parameters: request_id
SELECT *
FROM request
WHERE request_id = $request_id
