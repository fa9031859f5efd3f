-- @placeholder
SELECT 1
