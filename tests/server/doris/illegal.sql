-- Statements that must not get through, one a line, by what was tried to get past the guard.

-- table functions where a table stands
SELECT * FROM `s3`('uri'='x')
SELECT * FROM "s3"('uri'='x')
SELECT * FROM 's3'('uri'='x')
SELECT * FROM `brand_new`(a)
SELECT * FROM numbers('NUMBER'='99999999999', 'number'='1')
SELECT * FROM numbers(number=99999999999)
SELECT * FROM `numbers`('number'='99999999999')
SELECT * FROM numbers('number'='10' '0000000000')
SELECT * FROM t WHERE a IN (TABLE brand_new('a'='b'))
WITH s3(a) AS (SELECT 1) SELECT * FROM s3
WITH brand_new AS (SELECT 1) SELECT * FROM brand_new('a'='b')
SELECT * FROM internal.d.s3('uri'='x')
SELECT * FROM (s3('uri'='x'))
SELECT * FROM LATERAL s3('uri'='x')
SELECT * FROM t, LATERAL (SELECT * FROM s3('uri'='x'))
SELECT * FROM t CROSS JOIN LATERAL brand_new(a)
SELECT * FROM t LATERAL VIEW brand_new(a) x AS y
SELECT * FROM t LATERAL VIEW `brand_new`(a) x AS y
SELECT * FROM TABLE(brand_new('a'='b'))
SELECT * FROM ROWS FROM (brand_new('a'='b'))
SELECT * FROM t CROSS APPLY brand_new('a'='b')
SELECT * FROM JSON_TABLE('[]', '$' COLUMNS (a INT PATH '$'))
SELECT * FROM XMLTABLE('x')
SELECT * FROM OPENJSON('x')
SELECT * FROM read_csv('x')
SELECT * EXCEPT (a) FROM brand_new('a'='b')

-- what the clauses of Doris must not hide
SELECT * FROM t TABLET(brand_new('a'='b'))
SELECT * FROM t PARTITION (SELECT 1)
SELECT * FROM t PARTITION brand_new('a'='b')
SELECT * FROM t@brand_new((SELECT 1))
SELECT * FROM t@incr('a'='b') , brand_new('a'='b')
SELECT * FROM brand_new@incr('a'='b')('a'='b')
SELECT * FROM brand_new TABLET(1)('a'='b')
SELECT * FROM brand_new PARTITION p ('a'='b')
SELECT * FROM brand_new INDEX x ('a'='b')
SELECT * FROM [shuffle] brand_new('a'='b')
SELECT * FROM t JOIN [shuffle] brand_new('a'='b') x
SELECT * FROM t INDEX brand_new('a'='b')
SELECT * FROM t FOR TIME AS OF brand_new('a'='b')
SELECT * FROM t FOR VERSION AS OF (SELECT 1)
SELECT * FROM t TABLESAMPLE(10 PERCENT) REPEATABLE (SELECT 1 FROM brand_new('a'='b'))
SELECT aes_decrypt(a, KEY k) FROM brand_new('a'='b')

-- a table function or a lock in a subquery, wherever one may stand
SELECT date_trunc(a, 'day', (SELECT 1 FROM brand_new('a'='b')))
SELECT date_trunc(a, 'day', (SELECT 1 FROM t FOR UPDATE))
SELECT * FROM t LATERAL VIEW explode((SELECT a FROM brand_new('a'='b'))) x AS y
SELECT * FROM unnest((SELECT a FROM brand_new('a'='b')))
SELECT * FROM numbers('number'='10', 'x'=(SELECT 1 FROM brand_new('a'='b')))
SELECT * FROM t WHERE a = ANY (SELECT 1 FROM brand_new('a'='b'))
SELECT CASE WHEN EXISTS (SELECT 1 FROM brand_new('a'='b')) THEN 1 END
SELECT x -> (SELECT 1 FROM brand_new('a'='b'))
SELECT array_map(x -> (SELECT 1 FROM brand_new('a'='b')), arr)
SELECT sum(a) OVER (ORDER BY (SELECT 1 FROM brand_new('a'='b'))) FROM t
SELECT sum(a) OVER (ORDER BY a ROWS BETWEEN (SELECT 1 FROM brand_new('a'='b')) PRECEDING AND CURRENT ROW) FROM t
SELECT group_concat(a ORDER BY (SELECT 1 FROM brand_new('a'='b')) SEPARATOR ',') FROM t
SELECT group_concat(a SEPARATOR (SELECT 1 FROM brand_new('a'='b'))) FROM t
SELECT a FROM t LIMIT (SELECT 1 FROM brand_new('a'='b'))
SELECT a FROM t GROUP BY GROUPING SETS ((a), ((SELECT 1 FROM brand_new('a'='b'))))
SELECT * REPLACE ((SELECT 1 FROM brand_new('a'='b')) AS a) FROM t
SELECT INTERVAL (SELECT 1 FROM brand_new('a'='b')) DAY + now()
SELECT extract(YEAR FROM (SELECT 1 FROM brand_new('a'='b')))
SELECT trim(BOTH 'x' FROM (SELECT 1 FROM brand_new('a'='b')))
SELECT position('x' IN (SELECT 1 FROM brand_new('a'='b')))
SELECT CONVERT((SELECT 1 FROM brand_new('a'='b')) USING utf8)
SELECT char(65 USING utf8), (SELECT 1 FROM brand_new('a'='b'))
SELECT * FROM t QUALIFY row_number() OVER (ORDER BY (SELECT 1 FROM brand_new('a'='b'))) = 1
SELECT * FROM a ASOF JOIN b MATCH_CONDITION(a.x >= (SELECT 1 FROM brand_new('a'='b'))) ON a.y = b.y
SELECT a[(SELECT 1 FROM brand_new('a'='b'))] FROM t
SELECT {'a': (SELECT 1 FROM brand_new('a'='b'))}
SELECT * FROM (VALUES ((SELECT 1 FROM brand_new('a'='b')))) x
SELECT MATCH (a) AGAINST ((SELECT 1 FROM brand_new('a'='b')))
SELECT JSON_OBJECT('a': (SELECT 1 FROM brand_new('a'='b')))
SELECT GROUP_CONCAT((SELECT 1 FROM brand_new('a'='b'))) FROM t
SELECT VALUES((SELECT 1 FROM brand_new('a'='b')))
SELECT JSON_VALUE(a, '$' DEFAULT (SELECT 1 FROM brand_new('a'='b')) ON EMPTY) FROM t
SELECT XMLELEMENT(NAME a, (SELECT 1 FROM brand_new('a'='b')))
SELECT DATE_ADD(a, INTERVAL (SELECT 1 FROM brand_new('a'='b')) DAY) FROM t
SELECT STRING_AGG(a, (SELECT 1 FROM brand_new('a'='b'))) FROM t
SELECT DECODE(a, (SELECT 1 FROM brand_new('a'='b')), 1) FROM t
SELECT TRY_CAST((SELECT 1 FROM brand_new('a'='b')) AS INT)

-- writes, effects and assignments
SELECT * FROM t WHERE EXISTS (TABLE t)
SELECT (TABLE t)
SELECT * FROM (TABLE t) x
SELECT 1 UNION TABLE t
SELECT * FROM t PROCEDURE ANALYSE()
SELECT @a:=1
SELECT @a := 1
SELECT a :=1
SELECT * FROM t LOCK IN SHARE MODE
SELECT * FROM t FOR SHARE
SELECT * FROM t FOR UPDATE SKIP LOCKED
WITH x AS (INSERT INTO t SELECT 1) SELECT 1
WITH x AS (SELECT 1) UPDATE t SET a=1
SELECT 1 INTO @x
SELECT a INTO b FROM t
SELECT 1 INTO OUTFILE 'x' FORMAT AS csv
SELECT x.into FROM t
SELECT * FROM t WHERE a = 1 PROPERTIES ('a'='b')
SELECT PREDICT(MODEL m, TABLE t)
call p()
BEGIN SELECT 1; END
IF 1 THEN SELECT 1; END IF
DECLARE x INT; SELECT 1
PREPARE s FROM 'DROP TABLE t'
WITH RECURSIVE x AS (SELECT 1) CALL p()

-- syntax of other databases
FROM t SELECT *
FROM t
SELECT * FROM (FROM t)
SELECT * FROM ONLY brand_new('a'='b')
SELECT * FROM @stage
SELECT * FROM @stage/x
SELECT * FROM ?
SELECT * FROM :x
SELECT KEY my_key
SELECT CAST('x' AS s3('a'='b'))
SELECT NEXT VALUE FOR x
SELECT TOP 5 a FROM t

-- SHOW, DESC and EXPLAIN
EXPLAIN INSERT INTO t SELECT 1
EXPLAIN UPDATE t SET a = 1
EXPLAIN DELETE FROM t
EXPLAIN ANALYZE SELECT 1
EXPLAIN VERBOSE DELETE FROM t
EXPLAIN WITH x AS (SELECT 1) DELETE FROM t
EXPLAIN SELECT * FROM s3('a'='b')
EXPLAIN SELECT * FROM brand_new('a'='b')
EXPLAIN EXPLAIN SELECT 1
EXPLAIN SHOW TABLES
EXPLAIN DUMP SELECT 1
EXPLAIN (SELECT 1); DROP TABLE t
DESC s3('a'='b')
DESC brand_new('a'='b')
DESC FUNCTION brand_new('a'='b')
DESC SELECT * FROM brand_new('a'='b')
DESC t; DROP TABLE t
SHOW TABLES WHERE a IN (SELECT 1)
SHOW TABLES WHERE a = (SELECT 1)
SHOW TABLES WHERE sleep(10) = 1
SHOW TABLES WHERE a = sleep(10)
SHOW TABLES LIKE sleep(10)
SHOW TABLES LIKE 'a' INTO OUTFILE 'x'
SHOW TABLES FROM d UNION SELECT 1
SHOW TABLES FROM d; SELECT 1
SHOW TABLES FROM s3('a'='b')
SHOW CREATE CATALOG c
SHOW CREATE FUNCTION f(int)
SHOW CREATE ROUTINE LOAD FOR x
SHOW CREATE LOAD FOR x
SHOW CREATE USER x
SHOW CATALOG c
SHOW ALL GRANTS
SHOW GRANTS FOR root
SHOW ROLES
SHOW FULL PROCESSLIST
SHOW FRONTENDS
SHOW BACKENDS
SHOW BACKEND CONFIG
SHOW PROPERTY FOR root
SHOW SQL_BLOCK_RULE
SHOW ROW POLICY
SHOW ENCRYPTKEYS
SHOW QUERY PROFILE '/'
SHOW LOAD
SHOW TABLETS FROM t
SHOW TABLET 1
SHOW REPLICA STATUS FROM t
SHOW TRASH
SHOW REPOSITORIES
SHOW STORAGE VAULTS
SHOW STAGES
SHOW PLUGINS
SHOW FILE
ADMIN SHOW CONFIG
ADMIN SHOW REPLICA STATUS FROM t
HELP 'x'

-- hints, comments and other characters
SELECT /*+ SET_VAR(a=1) */ 1
SELECT /*+ LEADING(a) SET_VAR(a=1) */ 1
SELECT /*+ LEADING(a) */ /*+ SET_VAR(a=1) */ 1
SELECT /*!50000 1 */
SELECT 1 /*! INTO OUTFILE 'x' */
ＳＥＬＥＣＴ 1
SELECT 1；DROP TABLE t
SELECT/**/1/**/;/**/DROP/**/TABLE/**/t
SELECT 1 \G
SELECT 1 DELIMITER //

-- functions
SELECT s3 (1)
SELECT d.load_file('x')
SELECT `load_file` ('x')
SELECT sleep('1000')
SELECT sleep(1000)
SELECT sleep(1e3)
SELECT sleep(0x7fff)
SELECT sleep(- 1)
SELECT sleep(59 + 1000)
SELECT d.sleep(1000)
SELECT `sleep`(1000)
SELECT sleep(10, 1000)
SELECT sleep(DISTINCT 1000)
SELECT sleep(NULL)
SELECT ai_generate('x', a) FROM t
SELECT `AI_generate`('x', a) FROM t
SELECT llm_x(a) FROM t
SELECT query('a','b')
SELECT {fn s3('a'='b')}
SELECT {fn sleep(1000)}
SELECT * FROM t WHERE a = 1 AND BENCHMARK(1, 1)

-- bounds that are given twice or hidden
SELECT * FROM numbers('number'='10', 'number'='99999999999')
SELECT * FROM numbers('number'='99999999999', 'number'='10')
SELECT * FROM numbers('NUMBER'='10', 'number'='99999999999')
SELECT * FROM numbers('number'='-1')
SELECT * FROM numbers()
SELECT /*+ LEADING(`a) SET_VAR(x=1) (`) */ 1

-- a clause of Doris that would pass over more than its own
SELECT * FROM t FOR TIME AS OF , brand_new('a'='b')
SELECT * FROM brand_new FOR TIME AS OF ('a'='b')
SELECT * FROM brand_new FOR VERSION AS OF ('a')
SELECT * FROM brand_new PARTITION ('a'='b')('a'='b')
SELECT * FROM brand_new@x('a'='b')('a'='b')
SELECT * FROM t PARTITION (FROM brand_new('a'='b'))
SELECT * FROM t TABLET(1) (SELECT 1)
SELECT * FROM t INDEX (SELECT 1)
SELECT * FROM t TEMPORARY x, brand_new('a'='b')
SELECT * FROM t LATERAL VIEW explode(a) e AS f JOIN brand_new('a'='b') x ON true
SELECT * FROM t LATERAL VIEW explode(a) e AS f LATERAL VIEW brand_new(a) g AS h
SELECT * FROM t LATERAL VIEW explode(a) e AS f, brand_new('a'='b')

-- tables that show other people's statements, privileges and secrets
SELECT * FROM information_schema.processlist
SELECT * FROM INFORMATION_SCHEMA.ProcessList p
SELECT * FROM internal.information_schema.active_queries
SELECT count(*) FROM (SELECT * FROM hive.information_schema.backend_active_tasks) x
WITH q AS (SELECT * FROM __internal_schema.audit_log) SELECT stmt FROM q
SELECT query_id, stmt FROM __internal_schema.audit_log WHERE query_time > 1000
SELECT * FROM mysql.user LIMIT 0
SELECT * FROM `mysql`.`tables_priv`
SELECT 1 FROM t WHERE EXISTS (SELECT * FROM information_schema.`user_privileges`)
SELECT * FROM information_schema.workload_group_privileges
SELECT * FROM information_schema.backend_configuration
SELECT * FROM information_schema.encryption_keys
EXPLAIN SELECT * FROM information_schema.processlist

-- functions that send text out, or show keys
SELECT embed('resource', c_comment) FROM customer
SELECT EMBED('r', 'x')
SELECT `embed`('r', 'x')
SELECT ai_embed('r', c) FROM t
SELECT concat(KEY hr.k)
SELECT KEY k
SELECT aes_encrypt(KEY k, 'x')
SELECT aes_decrypt(c, concat(KEY k)) FROM t
SELECT hex(aes_encrypt('x', 'k')), upper(KEY d.k)
SELECT * FROM t LATERAL VIEW explode_split(KEY k, '') x AS e

-- more rows of one value than numbers() may give
SELECT count(*) FROM (SELECT 1) t LATERAL VIEW explode_numbers(2000000000) x AS n LATERAL VIEW explode_numbers(2000000000) y AS m
SELECT * FROM t LATERAL VIEW explode_numbers_outer(1000001) x AS n
SELECT sequence(1, 2000000000)
SELECT size(array_range(0, 100000000))
SELECT length(repeat('x', 2147483647))
SELECT repeat('x', 1000000 * 1000)
SELECT array_repeat('x', 1e9)
SELECT array_with_constant(99999999, 1)
SELECT lpad('x', 2000000000, 'y'), rpad('x', 2000000000, 'y'), space(2000000000)
SELECT aes_decrypt(aes_encrypt('a', '1'), KEY d.k LIKE 'a%')
SELECT aes_encrypt('x', KEY k < 'm')
SELECT aes_encrypt('x', KEY k || 'y')
SELECT repeat(repeat('a', 65536), 65536)
SELECT repeat(repeat(repeat('a', 10000), 10000), 10000)
SELECT array_repeat(array_repeat(1, 1000000), 1000000)
SELECT repeat('a', '1000000000'), space('1e9')
SELECT repeat('a', '\1000000000')
SELECT random_bytes(1000000000)
SELECT * FROM t LATERAL VIEW explode_numbers('1000000000') x AS n
SELECT array_range(0, '1000000000')
SELECT * FROM numbers('number' = '10', 'n\umber' = '100000000000')
SELECT * FROM numbers('number' = '1', 'const_value' = '1', 'const_value' = '1')
SELECT * FROM numbers('number' = '1', 'other' = '1')

-- names that Doris reads as another's
SELECT * FROM `x:ssb`.customer
SELECT * FROM `x:information_schema`.processlist
SHOW CREATE TABLE `x:ssb`.customer
DESC `a:b`.c
SELECT * FROM `ınformation_schema`.processlist
SELECT * FROM `information_ſchema`.processlist
SELECT * FROM `INFORMATİON_SCHEMA`.PROCESSLIST
SELECT routine_name, routine_body FROM information_schema.routines
SELECT * FROM t LATERAL VIEW explode_numbers(1000 * 1000 * 1000 * length('a')) x AS n
SELECT * FROM t LATERAL VIEW explode_numbers(CAST(pow(10, 9) AS INT)) x AS n
SELECT * FROM t LATERAL VIEW explode_numbers(CAST(concat('10000', '00000') AS INT)) x AS n
SELECT sequence(1, CAST(pow(10, 9) AS INT))
SELECT * FROM information_schema.authentication_integrations
