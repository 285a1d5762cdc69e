-- Queries that Doris takes, one a line, written from its SQL manual: the guard must let every one of them through.

-- basics
SELECT 1;
SELECT 1 + 2 * 3 - 4 / 5 % 6 AS x, 7 DIV 2, -8, +9, ~1;
SELECT DISTINCT city FROM customer ORDER BY city DESC NULLS LAST LIMIT 10 OFFSET 20;
SELECT ALL city FROM customer LIMIT 5, 10;
SELECT c.* FROM customer AS c WHERE c.city IS NOT NULL AND NOT c.closed;
SELECT c.*, o.total FROM customer c, orders o WHERE c.id = o.customer_id;
SELECT name 'a string as alias', id "another one" FROM customer;
SELECT CASE city WHEN 'Rome' THEN 1 WHEN 'Oslo' THEN 2 ELSE 3 END FROM customer;
SELECT CASE WHEN total > 100 THEN 'big' WHEN total IS NULL THEN 'none' END AS size FROM orders;
SELECT id FROM orders WHERE total BETWEEN 10 AND 20 OR total NOT BETWEEN 30 AND 40;
SELECT id FROM orders WHERE state IN ('new', 'paid') AND id NOT IN (1, 2, 3);
SELECT id FROM orders WHERE (state, city) IN (('new', 'Rome'), ('paid', 'Oslo'));
SELECT id FROM orders WHERE note LIKE '50\\%%' ESCAPE '\\' OR note NOT LIKE '_a%';
SELECT id FROM orders WHERE a <=> b AND c <> d AND e != f AND g >= h AND i <= j;
SELECT id FROM orders WHERE a && b || c AND NOT (d XOR e) AND !f;
SELECT a & b | c ^ d, a << 2, b >> 3 FROM flags;
SELECT bit_shift_left(1, 10), bit_shift_right(1024, 3), bitand(3, 5), bitor(3, 5), bitxor(3, 5), bitnot(3) FROM flags;
SELECT NULL, TRUE, FALSE, 'text', 1.5, 1e10, 0x1F, X'1F', .5, 5. FROM orders;
SELECT if(a > b, a, b), ifnull(a, 0), nullif(a, b), coalesce(a, b, 0), nvl(a, 1), nullable(a) FROM pairs;
SELECT count(*), count(1), count(DISTINCT a), count(DISTINCT a, b) FROM pairs;
SELECT city, sum(total) s FROM orders GROUP BY city HAVING s > 100 ORDER BY 2 DESC LIMIT 3;
SELECT city, sum(total) FROM orders GROUP BY 1 HAVING sum(total) > 100;
SELECT @@version_comment, @@session.query_timeout, @@global.sql_mode;
SELECT database(), schema(), current_catalog(), version(), user(), current_user(), session_user(), connection_id();
SELECT greatest(1, 2, 3), least(1, 2, 3), field('a', 'b', 'a'), elt(2, 'a', 'b');
SELECT id FROM orders WHERE is_null_pred(note) OR is_not_null_pred(state);
SELECT id FROM orders WHERE isnull(note);
SELECT uuid(), uuid_numeric(), rand(), random(1, 6), sleep(1);
SELECT * FROM (SELECT 1 AS a UNION ALL SELECT 2) t WHERE a > 1;
SELECT (1, 2) = (1, 2) FROM pairs;
(SELECT 1);
((SELECT a FROM t1) UNION (SELECT a FROM t2)) ORDER BY a LIMIT 1;
SELECT 1 FROM dual;
SELECT a FROM t WHERE b = 'it''s' AND c = "say ""x""" AND d = 'a\'b' AND e = '\n\t\\';
SELECT "a" 'b', 'c' AS "d" FROM t;
SELECT a -- a remark; with a separator
FROM t /* and one more; */ WHERE b = 1;
SELECT a AS `select`, b AS `from`, c AS `into` FROM `table` WHERE `where` = 1;
select lower(a), upper(b) from t where c = 'X' order by a asc;

-- names
SELECT * FROM internal.ssb.lineorder LIMIT 1;
SELECT * FROM hive.`default`.clicks c JOIN internal.ssb.customer u ON c.uid = u.c_custkey;
SELECT `internal`.`ssb`.`lineorder`.`lo_orderkey` FROM `internal`.`ssb`.`lineorder`;
SELECT ssb.lineorder.lo_orderkey FROM ssb.lineorder;
SELECT `order-id`, `2nd_price`, `größe`, `with blank` FROM `my-db`.`2024_orders`;
SELECT `it's`, `say "x"`, `semi;colon`, `--dash`, `/*x*/` FROM `odd``name`;
SELECT `a.b`, `c`.`d.e` FROM `f.g`;
SELECT größe, naïve, año, ελληνικά, 列名, имя FROM tävla WHERE straße = 'x';
SELECT _a, a_1, a$b, __c FROM _t1;
SELECT 中文 AS 名称 FROM 数据库.表 WHERE 城市 = '北京';
SELECT `1`, `1a` FROM `9t` AS `8u`;
SELECT t.`key`, t.`value`, t.`date`, t.`timestamp` FROM kv t;
SELECT date, timestamp, year, month, day, hour, type, status, user_id, value, name, comment FROM events;
SELECT `a` `b` FROM `c` `d` WHERE `d`.`a` = 1;
SELECT a.b.c FROM db.a;
SELECT data, format, level, mode, action, job, task, label, hash, list, random, sample, properties FROM t;
SELECT rank, percent, row_id, position, session, stats, tables, views, version, verbose FROM t;
SELECT tag, period, quota, path, partitions, bucket, buckets, catalog, chain, cluster, columns FROM t;

-- what an earlier guard refused
SELECT charset, ignore, qualify, rlike, uncache, ilike, match_condition, offset, separator, returning FROM straight_join;
SELECT * FROM t window;
SELECT * FROM t lock JOIN u offset ON lock.a = offset.a;
SELECT a offset, b lock, c AS window FROM t GROUP BY offset;
SELECT SUBSTRING(a || b, 1, 2), TRIM(BOTH 'x' FROM a || b), json_object('k', a OR b), EXTRACT(YEAR FROM a || b) FROM t;
SELECT position(concat(a, b) IN c), a || b IN (1, 2) FROM t GROUP BY CUBE(a || b, c AND d);
SELECT a, sum(b) FROM t GROUP BY a ASC, c DESC WITH ROLLUP;
SELECT CONVERT(a, SIGNED INT), CONVERT(a, UNSIGNED), CHAR(65 USING 'utf8'), CAST(a AS AGG_STATE<sum(INT NOT NULL)>) FROM t;
SELECT CAST(a AS VARIANT<'a.b': INT, MATCH_NAME 'c': TEXT>), CAST(a AS STRUCT<date: DATE COMMENT 'x'>) FROM t;
SELECT sum(a) OVER (PARTITION BY [skew] b), count(DISTINCT [skew] a) FROM t;
SELECT * FROM t JOIN [bucket] u ON t.a = u.a JOIN [shuffle[skew(t.a(1, 'x'))]] v ON t.a = v.a;
SELECT /*+ USE_CBO_RULE(push_down_agg_through_join) */ a FROM t;
SELECT /*+ NO_USE_CBO_RULE(x, y) ORDERED */ a FROM t;
SELECT /*+ LEADING(a shuffle[skew(a.k(1, 'x'))] b) */ 1 FROM a, b;
SELECT MID(a FROM 2 FOR 3), SUBSTR(a FROM 2), EXTRACT(YEAR FROM DATE d), json_object(t.*), json_object(*) FROM t;
SELECT a !< b, a !> b, a == b, date_add(d, INTERVAL '1 xx' DAY_HOUR) FROM t;
SELECT * REPLACE (1 AS a) EXCEPT (b) FROM t;
SELECT t.* EXCEPT (a) REPLACE (2 AS b, c + 1 AS c) FROM t;
SELECT * FROM (VALUES (1), (2) LIMIT 1) AS x(a);
SELECT * FROM (VALUES (1, 'a') ORDER BY 1) x;
SELECT 1 UNION VALUES (1), (2);
(VALUES (1)) UNION ALL (SELECT 2);
WITH recursive AS (SELECT 1 AS a) SELECT a FROM recursive;
SELECT c1, c2 FROM (SELECT 1) t LATERAL VIEW stack(2, 1, 2, 3) s AS c1, c2;
SELECT k, v FROM t LATERAL VIEW json_each(doc) x AS k, v LATERAL VIEW json_each_text_outer(doc) y AS l, w;
SELECT * FROM ((SELECT 1 AS a) UNION (SELECT 2)) x, ((t JOIN u ON t.a = u.a));
SELECT ((SELECT 1) + 1), ((SELECT 1) UNION (SELECT 2) LIMIT 1) FROM t WHERE ((a)) IN ((SELECT 1), 2);
SELECT list FROM t;
SELECT e FROM t LATERAL VIEW explode_numbers(datediff('2024-12-31', '2024-01-01')) x AS e;
SELECT e FROM t LATERAL VIEW explode_numbers(CAST(a * 10 AS INT) + 1) x AS e;
SELECT sequence(1, year(d) - 1990), lpad(CAST(a AS STRING), 10 - 2, '0') FROM t;

-- joins
SELECT * FROM a INNER JOIN b ON a.id = b.id;
SELECT * FROM a LEFT JOIN b ON a.id = b.id AND a.x > b.y;
SELECT * FROM a LEFT OUTER JOIN b USING (id);
SELECT * FROM a RIGHT OUTER JOIN b USING (id, day);
SELECT * FROM a FULL OUTER JOIN b ON a.id = b.id;
SELECT * FROM a CROSS JOIN b;
SELECT * FROM a JOIN b;
SELECT * FROM a LEFT SEMI JOIN b ON a.id = b.id;
SELECT * FROM a RIGHT SEMI JOIN b ON a.id = b.id;
SELECT * FROM a LEFT ANTI JOIN b ON a.id = b.id;
SELECT * FROM a RIGHT ANTI JOIN b ON a.id = b.id;
SELECT * FROM a JOIN b ON a.id = b.id JOIN c ON b.id = c.id LEFT JOIN d ON c.id = d.id;
SELECT * FROM (a JOIN b ON a.id = b.id);
SELECT * FROM a, b, c WHERE a.id = b.id AND b.id = c.id;
SELECT * FROM a JOIN [shuffle] b ON a.id = b.id;
SELECT * FROM a JOIN [broadcast] b ON a.id = b.id;
SELECT * FROM a LEFT JOIN [shuffle] b ON a.id = b.id;
SELECT * FROM a JOIN (SELECT id, max(x) m FROM b GROUP BY id) c ON a.id = c.id;
SELECT * FROM trades t ASOF LEFT JOIN quotes q MATCH_CONDITION(t.ts >= q.ts) ON t.symbol = q.symbol;
SELECT * FROM trades t ASOF JOIN quotes q MATCH_CONDITION(t.ts >= q.ts) USING (symbol);

-- hints that are allowed
SELECT /*+ LEADING(t1 t2 t3) */ * FROM t1 JOIN t2 ON t1.a = t2.a JOIN t3 ON t2.a = t3.a;
SELECT /*+ leading(t1 {t2 t3}) */ * FROM t1 JOIN t2 ON t1.a = t2.a JOIN t3 ON t2.a = t3.a;
SELECT /*+ leading({t1 t2} {t3 t4}) */ * FROM t1, t2, t3, t4;
SELECT /*+ leading(t1 shuffle t2) */ * FROM t1 JOIN t2 ON t1.a = t2.a;
SELECT /*+ leading(t1 broadcast {t2 shuffle t3}) */ count(*) FROM t1 JOIN t2 ON t1.a = t2.a JOIN t3 ON t2.a = t3.a;
SELECT /*+ ORDERED */ * FROM t1 JOIN t2 ON t1.a = t2.a;
SELECT /*+ USE_MV(mv1) */ a, sum(b) FROM t1 GROUP BY a;
SELECT /*+ USE_MV(internal.db.mv1, internal.db.mv2) */ a, sum(b) FROM t1 GROUP BY a;
SELECT /*+ NO_USE_MV */ a, sum(b) FROM t1 GROUP BY a;
SELECT /*+ NO_USE_MV(mv1) */ a FROM t1;
WITH x AS (SELECT /*+ ORDERED */ * FROM t1 JOIN t2 ON t1.a = t2.a) SELECT count(*) FROM x;
SELECT * FROM t1 JOIN /*+ shuffle */ t2 ON t1.a = t2.a;
SELECT /*+ leading(`t-1` t2) */ * FROM `t-1` JOIN t2 ON `t-1`.a = t2.a;

-- subqueries
SELECT * FROM a WHERE id IN (SELECT id FROM b WHERE b.x = a.x);
SELECT * FROM a WHERE id NOT IN (SELECT id FROM b);
SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.id = a.id);
SELECT * FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.id = a.id AND b.x > 1);
SELECT * FROM a WHERE x > (SELECT avg(x) FROM b WHERE b.id = a.id);
SELECT a.id, (SELECT max(x) FROM b WHERE b.id = a.id) AS m FROM a;
SELECT * FROM (SELECT id FROM a ORDER BY id LIMIT 10) t ORDER BY id DESC;
SELECT city FROM orders GROUP BY city HAVING count(*) > (SELECT count(*) / 10 FROM orders);
SELECT * FROM a WHERE (id, x) IN (SELECT id, x FROM b);
SELECT * FROM a ORDER BY (SELECT max(x) FROM b WHERE b.id = a.id);

-- CTEs
WITH x AS (SELECT 1 AS a) SELECT a FROM x;
WITH x AS (SELECT a FROM t), y AS (SELECT a FROM x WHERE a > 1) SELECT * FROM x JOIN y USING (a);
WITH x (a, b) AS (SELECT 1, 2) SELECT a, b FROM x;
WITH x AS (SELECT 1 AS a UNION ALL SELECT 2) SELECT sum(a) FROM x;
SELECT * FROM (WITH x AS (SELECT 1 AS a) SELECT a FROM x) t;
WITH a AS (WITH b AS (SELECT 1 AS c) SELECT c FROM b) SELECT c FROM a;
WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 10) SELECT n FROM r;
WITH RECURSIVE path (id, parent) AS (SELECT id, parent FROM tree WHERE id = 1 UNION ALL SELECT t.id, t.parent FROM tree t JOIN path p ON t.parent = p.id) SELECT * FROM path;
WITH x AS (SELECT 1) (SELECT * FROM x) UNION ALL (SELECT * FROM x) ORDER BY 1;

-- set operations
SELECT a FROM t1 UNION SELECT a FROM t2;
SELECT a FROM t1 UNION ALL SELECT a FROM t2 UNION DISTINCT SELECT a FROM t3;
SELECT a FROM t1 INTERSECT SELECT a FROM t2;
SELECT a FROM t1 INTERSECT DISTINCT SELECT a FROM t2;
SELECT a FROM t1 EXCEPT SELECT a FROM t2;
SELECT a FROM t1 MINUS SELECT a FROM t2;
SELECT a FROM t1 EXCEPT ALL SELECT a FROM t2;
(SELECT a FROM t1 ORDER BY a LIMIT 1) UNION ALL (SELECT a FROM t2 ORDER BY a LIMIT 1);
SELECT a FROM t1 UNION ALL SELECT a FROM t2 ORDER BY a LIMIT 10 OFFSET 5;
SELECT 1 MINUS SELECT 2 MINUS SELECT 3;
(SELECT a FROM t1 UNION SELECT a FROM t2) INTERSECT SELECT a FROM t3;

-- grouping
SELECT a, b, sum(c) FROM t GROUP BY a, b WITH ROLLUP;
SELECT a, b, sum(c) FROM t GROUP BY ROLLUP(a, b);
SELECT a, b, sum(c) FROM t GROUP BY CUBE(a, b);
SELECT a, b, sum(c) FROM t GROUP BY GROUPING SETS ((a, b), (a), (b), ());
SELECT a, b, grouping(a), grouping_id(a, b), sum(c) FROM t GROUP BY GROUPING SETS ((a, b), ());
SELECT a, grouping(a) g, count(*) FROM t GROUP BY ROLLUP(a) HAVING g = 0 ORDER BY a;
SELECT date_trunc(day, 'month'), sum(x) FROM t GROUP BY date_trunc(day, 'month');
SELECT a + 1, count(*) FROM t GROUP BY a + 1;
SELECT a, any_value(b), any(c), max_by(d, e), min_by(d, e) FROM t GROUP BY a;
SELECT a FROM t GROUP BY a, b HAVING count(*) > 1 AND max(c) < 5;

-- aggregate functions
SELECT avg(a), avg(DISTINCT a), stddev(a), stddev_samp(a), stddev_pop(a), variance(a), var_samp(a), var_pop(a) FROM t;
SELECT approx_count_distinct(a), ndv(a), percentile(a, 0.5), percentile_approx(a, 0.99), percentile_approx(a, 0.99, 4096) FROM t;
SELECT percentile_array(a, [0.25, 0.5, 0.75]), median(a), topn(b, 3), topn_array(b, 3, 100), topn_weighted(b, a, 3) FROM t;
SELECT group_concat(a), group_concat(a, ', '), group_concat(DISTINCT a ORDER BY b DESC SEPARATOR '; ') FROM t;
SELECT group_concat(a ORDER BY b), group_concat(DISTINCT a, '|' ORDER BY a) FROM t;
SELECT collect_list(a), collect_set(a), collect_list(a, 10), collect_set(a, 10), array_agg(a), map_agg(a, b) FROM t;
SELECT group_bit_and(a), group_bit_or(a), group_bit_xor(a), corr(a, b), covar(a, b), covar_samp(a, b) FROM t;
SELECT sum0(a), count_by_enum(a, b), histogram(a, 10), skewness(a), kurtosis(a), linear_histogram(a, 5) FROM t;
SELECT multi_distinct_count(a), multi_distinct_sum(b), avg_weighted(a, b), sum(DISTINCT a) FROM t;
SELECT retention(day = '2024-01-01', day = '2024-01-02') FROM events GROUP BY uid;
SELECT window_funnel(3600, 'default', ts, event = 'login', event = 'visit', event = 'order') FROM events GROUP BY uid;
SELECT sequence_match('(?1)(?t<=3600)(?2)', ts, event = 'a', event = 'b'), sequence_count('(?1)(?2)', ts, event = 'a', event = 'b') FROM events;
SELECT sum_state(a), sum_merge(s), sum_union(s), avg_merge(s), max_foreach(arr) FROM agg_states;
SELECT count(*) FILTER (WHERE a > 1) FROM t;
SELECT intersect_count(b, k, 'a', 'b'), orthogonal_bitmap_intersect(b, k, 'a'), orthogonal_bitmap_union_count(b) FROM tags;
SELECT quantile_percent(quantile_union(q), 0.5) FROM sketches;

-- bitmap and hll
SELECT bitmap_union_count(b), bitmap_union(b), bitmap_intersect(b), bitmap_union_int(a), bitmap_agg(a) FROM tags;
SELECT bitmap_count(b), bitmap_contains(b, 5), bitmap_has_any(b, c), bitmap_has_all(b, c), bitmap_to_string(b) FROM tags;
SELECT bitmap_count(bitmap_and(b, c)), bitmap_or(b, c, d), bitmap_xor(b, c), bitmap_not(b, c), bitmap_and_not(b, c) FROM tags;
SELECT to_bitmap(1), bitmap_hash('x'), bitmap_hash64('x'), bitmap_empty(), bitmap_from_string('1,2'), bitmap_from_array([1, 2]);
SELECT bitmap_min(b), bitmap_max(b), bitmap_to_array(b), sub_bitmap(b, 0, 3), bitmap_subset_limit(b, 1, 3) FROM tags;
SELECT hll_union_agg(h), hll_cardinality(hll_union(h)), hll_raw_agg(h), hll_cardinality(hll_hash('x')), hll_empty() FROM sketches;
SELECT hll_to_base64(h), hll_from_base64('AA=='), bitmap_to_base64(b), bitmap_from_base64('AA==') FROM sketches;
SELECT day, bitmap_count(bitmap_union(to_bitmap(uid))) AS uv FROM events GROUP BY day;

-- window functions
SELECT row_number() OVER (PARTITION BY a ORDER BY b DESC) AS rn FROM t;
SELECT rank() OVER (ORDER BY a), dense_rank() OVER (ORDER BY a), percent_rank() OVER (ORDER BY a), cume_dist() OVER (ORDER BY a), ntile(4) OVER (ORDER BY a) FROM t;
SELECT lead(a, 1, 0) OVER (PARTITION BY b ORDER BY c), lag(a, 2, NULL) OVER (ORDER BY c), lag(a) OVER (ORDER BY c) FROM t;
SELECT first_value(a) OVER (ORDER BY b), last_value(a) OVER (ORDER BY b ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM t;
SELECT first_value(a, true) OVER (ORDER BY b), nth_value(a, 2) OVER (ORDER BY b) FROM t;
SELECT sum(a) OVER (PARTITION BY b ORDER BY c ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) FROM t;
SELECT sum(a) OVER (ORDER BY c ROWS 2 PRECEDING), sum(a) OVER (ORDER BY c ROWS UNBOUNDED PRECEDING) FROM t;
SELECT sum(a) OVER (ORDER BY c RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM t;
SELECT avg(a) OVER (ORDER BY c ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING), avg(a) OVER () FROM t;
SELECT sum(a) OVER (ORDER BY day RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND CURRENT ROW) FROM t;
SELECT sum(sum(a)) OVER (PARTITION BY b) FROM t GROUP BY b;
SELECT * FROM (SELECT a, row_number() OVER (PARTITION BY b ORDER BY c) rn FROM t) x WHERE rn <= 3;
SELECT a, row_number() OVER (PARTITION BY b ORDER BY c) rn FROM t QUALIFY rn = 1;
SELECT a FROM t QUALIFY row_number() OVER (PARTITION BY b ORDER BY c DESC) <= 2 ORDER BY a LIMIT 5;
SELECT a, count(*) FROM t WHERE b > 1 GROUP BY a HAVING count(*) > 1 QUALIFY rank() OVER (ORDER BY count(*) DESC) < 4;
SELECT sum(a) OVER w FROM t WINDOW w AS (PARTITION BY b ORDER BY c);
SELECT count(DISTINCT a) OVER (PARTITION BY b) FROM t;

-- lateral view and unnest
SELECT e FROM t LATERAL VIEW explode(arr) x AS e;
SELECT id, e FROM t LATERAL VIEW explode_outer(arr) x AS e WHERE e > 1;
SELECT e FROM t LATERAL VIEW explode_split(names, ',') x AS e;
SELECT e FROM t LATERAL VIEW explode_numbers(5) x AS e;
SELECT e FROM t LATERAL VIEW explode_bitmap(b) x AS e ORDER BY e;
SELECT e FROM t LATERAL VIEW explode_json_array_int('[1,2,3]') x AS e;
SELECT e FROM t LATERAL VIEW explode_json_array_string(doc) x AS e;
SELECT e FROM t LATERAL VIEW explode_json_array_double(doc) x AS e LATERAL VIEW explode_numbers(3) y AS f;
SELECT e FROM t LATERAL VIEW explode_json_array_json(doc) x AS e;
SELECT k, v FROM t LATERAL VIEW explode_map(m) x AS k, v;
SELECT k, v FROM t LATERAL VIEW explode_json_object(doc) x AS k, v;
SELECT e FROM t LATERAL VIEW explode_variant_array(doc['items']) x AS e;
SELECT pos, e FROM t LATERAL VIEW posexplode(arr) x AS pos, e;
SELECT pos, e FROM t LATERAL VIEW posexplode_outer(arr) x AS pos, e;
SELECT a, b FROM t LATERAL VIEW explode(xs, ys) x AS a, b;
SELECT * FROM (SELECT 1 AS id, [1, 2] AS arr) t LATERAL VIEW explode(t.arr) x AS e;
SELECT e, count(*) FROM t LATERAL VIEW explode(split_by_string(tags, ',')) x AS e GROUP BY e;
SELECT * FROM unnest([1, 2, 3]) AS x;
SELECT t.id, x.e FROM t, unnest(t.arr) AS x(e);
SELECT t.id, x.e FROM t LEFT JOIN unnest(t.arr) AS x(e) ON true;
SELECT * FROM numbers('number' = '10');
SELECT * FROM numbers("number" = "100", "const_value" = "1") LIMIT 5;

-- full text
SELECT id FROM logs WHERE msg MATCH_ANY 'error code';
SELECT id FROM logs WHERE msg MATCH_ALL 'error code' AND NOT msg MATCH_ANY 'debug';
SELECT id FROM logs WHERE msg MATCH_PHRASE 'disk full';
SELECT id FROM logs WHERE msg MATCH_PHRASE 'disk full ~2+';
SELECT id FROM logs WHERE msg MATCH_PHRASE_PREFIX 'disk fu';
SELECT id FROM logs WHERE msg MATCH_PHRASE_EDGE 'isk ful';
SELECT id FROM logs WHERE msg MATCH_REGEXP '^err.*';
SELECT id FROM logs WHERE msg MATCH 'error' OR title MATCH 'error';
SELECT id FROM logs WHERE doc['a']['b'] MATCH_ANY 'x';
SELECT id FROM logs WHERE CAST(doc['msg'] AS TEXT) MATCH_ALL 'x y';
SELECT id FROM logs WHERE msg MATCH_ANY 'x' USING ANALYZER standard;
SELECT id, score() AS s FROM logs WHERE msg MATCH_ANY 'x' ORDER BY s DESC LIMIT 10;
SELECT id FROM logs WHERE search('title:hello AND body:world');
SELECT tokenize('I love Doris', '"parser"="english"');
SELECT count(*) FROM logs WHERE multi_match('error', 'any', title, msg) OR multi_search_all_positions(msg, ['a', 'b']) IS NOT NULL;

-- regular expressions
SELECT id FROM t WHERE name REGEXP '^a.*z$' AND name NOT REGEXP 'x' AND name RLIKE 'y';
SELECT id FROM t WHERE name REGEXP r'\d+' OR name RLIKE R"\w+";
SELECT regexp(name, 'a'), regexp_extract(name, '([a-z]+)', 1), regexp_extract_all(name, 'x'), regexp_replace(name, 'a', 'b'), regexp_replace_one(name, 'a', 'b') FROM t;
SELECT regexp_count(name, 'a'), regexp_extract_or_null(name, '(a)', 1), name NOT RLIKE 'z' FROM t;

-- json
SELECT json_extract(doc, '$.a.b'), jsonb_extract(doc, '$.a'), json_extract(doc, '$.a', '$.b') FROM t;
SELECT get_json_string(doc, '$.a'), get_json_int(doc, '$.b'), get_json_double(doc, '$.c'), get_json_bigint(doc, '$.d') FROM t;
SELECT json_extract_string(doc, '$.a[0]'), json_extract_int(doc, '$.b'), json_extract_bool(doc, '$.c'), json_extract_isnull(doc, '$.d') FROM t;
SELECT json_object('a', 1, 'b', 'x'), json_array(1, 'a', NULL), json_quote('x'), json_unquote('"x"'), json_parse('{"a":1}');
SELECT json_valid(doc), json_type(doc, '$.a'), json_length(doc), json_keys(doc), json_contains(doc, '1', '$.a'), json_exists_path(doc, '$.a') FROM t;
SELECT json_set(doc, '$.a', 1), json_insert(doc, '$.b', 2), json_replace(doc, '$.c', 3), json_remove(doc, '$.d'), json_search(doc, 'one', 'x') FROM t;
SELECT doc -> '$.a', doc ->> '$.b' FROM t;
SELECT json_parse_error_to_null('{'), jsonb_parse('{}'), to_json(struct(1, 2)), jsonb_type(doc, '$') FROM t;
SELECT CAST('{"a": 1}' AS JSON), CAST(doc AS JSONB) FROM t;
SELECT json_extract(doc, '$."a b".c[*]'), json_extract(doc, '$.**.x'), json_extract(doc, '$[last]') FROM t;

-- variant
SELECT v['a'], v['a']['b'], v['items'][0]['price'] FROM docs;
SELECT CAST(v['a'] AS INT), CAST(v['b']['c'] AS STRING) FROM docs WHERE CAST(v['a'] AS BIGINT) > 1;
SELECT v['repo']['name'], count(*) FROM github_events GROUP BY v['repo']['name'] ORDER BY 2 DESC LIMIT 5;
SELECT CAST('{"a": 1}' AS VARIANT), variant_type(v), v.a.b FROM docs;
SELECT v['a'] IS NOT NULL, v['tags'] FROM docs WHERE array_contains(CAST(v['tags'] AS ARRAY<TEXT>), 'x');
SELECT element_at(v, 'a') FROM docs;

-- arrays, maps, structs, lambdas
SELECT [1, 2, 3], ['a', 'b'], [], [[1], [2, 3]], array(1, 2), arr[1], arr[-1], arr[1:2] FROM t;
SELECT {'a': 1, 'b': 2}, map('a', 1), m['a'], element_at(m, 'b'), map_keys(m), map_values(m), map_size(m) FROM t;
SELECT {1, 'a'}, struct(1, 'a'), named_struct('f1', 1, 'f2', 'a'), struct_element(s, 'f1'), struct_element(s, 1), s.f1 FROM t;
SELECT array_map(x -> x + 1, arr), array_map((x, y) -> x + y, arr, brr), array_filter(x -> x > 1, arr) FROM t;
SELECT array_sum(array_map(x -> x * x, arr)), array_exists(x -> x > 2, arr), array_match_all(x -> x > 0, arr), array_match_any(x -> x > 0, arr) FROM t;
SELECT array_sort(arr), array_reverse_sort(arr), array_sortby(arr, brr), array_sortby(x -> -x, arr), array_shuffle(arr) FROM t;
SELECT array_first(x -> x > 1, arr), array_last(x -> x > 1, arr), array_first_index(x -> x > 1, arr), array_last_index(x -> x > 1, arr), array_count(x -> x > 1, arr) FROM t;
SELECT array_distinct(arr), array_union(arr, brr), array_intersect(arr, brr), array_except(arr, brr), array_concat(arr, brr), array_zip(arr, brr) FROM t;
SELECT array_contains(arr, 1), array_position(arr, 1), array_size(arr), size(arr), cardinality(arr), arrays_overlap(arr, brr), array_contains_all(arr, brr) FROM t;
SELECT array_join(arr, ','), array_slice(arr, 1, 2), array_range(1, 10, 2), array_repeat('a', 3), array_with_constant(3, 'a'), array_popback(arr), array_popfront(arr), array_pushback(arr, 1), array_pushfront(arr, 1) FROM t;
SELECT array_min(arr), array_max(arr), array_avg(arr), array_product(arr), array_difference(arr), array_cum_sum(arr), array_enumerate(arr), array_enumerate_uniq(arr), array_compact(arr), array_remove(arr, 1) FROM t;
SELECT array_split(x -> x > 1, arr), array_apply(arr, '>', 2), array_flatten([[1], [2]]), sequence(1, 10), split_by_string('a,b', ','), split_by_regexp('a1b', '[0-9]'), str_to_map('a:1,b:2', ',', ':') FROM t;
SELECT map_contains_key(m, 'a'), map_contains_value(m, 1), map_contains_entry(m, 'a', 1), map_entries(m), map_concat(m, n) FROM t;
SELECT cosine_distance(e, [1.0, 0.0]), inner_product(e, f), l1_distance(e, f), l2_distance(e, f), l2_distance_approximate(e, f) FROM vectors ORDER BY 1 LIMIT 5;
SELECT arr[1][2], m['a']['b'], s.f.g, [1, 2][1] FROM t;
SELECT array_map(x -> array_map(y -> x + y, brr), arr) FROM t;
SELECT array_map(x -> CASE WHEN x > 1 THEN 'a' ELSE 'b' END, arr) FROM t;

-- casts and types
SELECT CAST(a AS BOOLEAN), CAST(a AS TINYINT), CAST(a AS SMALLINT), CAST(a AS INT), CAST(a AS BIGINT), CAST(a AS LARGEINT) FROM t;
SELECT CAST(a AS FLOAT), CAST(a AS DOUBLE), CAST(a AS DECIMAL), CAST(a AS DECIMAL(38, 9)), CAST(a AS DECIMALV3(9, 2)) FROM t;
SELECT CAST(a AS CHAR(10)), CAST(a AS VARCHAR(20)), CAST(a AS VARCHAR), CAST(a AS STRING), CAST(a AS TEXT) FROM t;
SELECT CAST(a AS DATE), CAST(a AS DATETIME), CAST(a AS DATETIME(6)), CAST(a AS DATEV2), CAST(a AS DATETIMEV2(3)), CAST(a AS TIME), CAST(a AS TIMESTAMP) FROM t;
SELECT CAST(a AS IPV4), CAST(a AS IPV6), CAST(a AS JSON), CAST(a AS VARIANT), CAST(a AS SIGNED), CAST(a AS UNSIGNED INTEGER) FROM t;
SELECT CAST(a AS ARRAY<INT>), CAST(a AS ARRAY<ARRAY<STRING>>), CAST(a AS MAP<STRING, INT>), CAST(a AS STRUCT<f1: INT, f2: STRING>) FROM t;
SELECT CAST(a AS MAP<VARCHAR(10), ARRAY<DECIMAL(10, 2)>>), CAST(a AS STRUCT<a: ARRAY<INT>, b: MAP<INT, TEXT>>) FROM t;
SELECT CAST(h AS HLL), CAST(b AS BITMAP), CAST(q AS QUANTILE_STATE) FROM sketches;
SELECT TRY_CAST('x' AS INT), CONVERT(a, SIGNED), CONVERT(a USING utf8), BINARY a = 'x' FROM t;
SELECT DATE '2024-01-01', TIMESTAMP '2024-01-01 00:00:00', DATEV2 '2024-01-01', DATEV1 '2024-01-01';

-- dates and intervals
SELECT now(), now(3), current_timestamp(), current_timestamp, current_date, current_date(), curdate(), curtime(), utc_timestamp(), unix_timestamp(), localtime(), localtimestamp();
SELECT date_add(d, INTERVAL 1 DAY), date_sub(d, INTERVAL 2 MONTH), adddate(d, 3), subdate(d, INTERVAL 1 YEAR), d + INTERVAL 1 HOUR, d - INTERVAL 5 MINUTE FROM t;
SELECT date_add(d, INTERVAL n DAY), date_add(d, INTERVAL n + 1 WEEK), d + INTERVAL (a + b) SECOND, INTERVAL 1 DAY + d FROM t;
SELECT date_trunc(d, 'day'), date_trunc(d, 'quarter'), date_trunc('hour', d), date_floor(d, INTERVAL 5 MINUTE), date_ceil(d, INTERVAL 1 HOUR) FROM t;
SELECT date_format(d, '%Y-%m-%d %H:%i:%s'), str_to_date('2024-01-01', '%Y-%m-%d'), from_unixtime(1700000000), from_unixtime(1700000000, '%Y'), to_date(d), date(d), timestamp(d) FROM t;
SELECT datediff(d, e), timestampdiff(MONTH, d, e), timediff(d, e), days_diff(d, e), months_diff(d, e), hours_diff(d, e), seconds_diff(d, e), timestampadd(DAY, 1, d) FROM t;
SELECT year(d), quarter(d), month(d), week(d, 1), weekofyear(d), day(d), dayofmonth(d), dayofweek(d), dayofyear(d), hour(d), minute(d), second(d), microsecond(d), monthname(d), dayname(d), weekday(d), yearweek(d) FROM t;
SELECT extract(YEAR FROM d), extract(hour FROM d), last_day(d), next_day(d, 'MON'), makedate(2024, 60), to_days(d), from_days(739000), to_monday(d), time_to_sec('01:00:00'), sec_to_time(60) FROM t;
SELECT days_add(d, 1), weeks_sub(d, 1), months_add(d, 1), years_add(d, 1), hours_add(d, 1), minutes_sub(d, 1), seconds_add(d, 1), quarters_add(d, 1), milliseconds_add(d, 1), microseconds_add(d, 1) FROM t;
SELECT convert_tz(d, '+08:00', 'Asia/Shanghai'), year_floor(d), month_ceil(d), day_floor(d, 3), minute_floor(d, 15), hour_ceil(d), week_floor(d), time_slice(d, INTERVAL 5 MINUTE) FROM t;
SELECT * FROM t WHERE d >= '2024-01-01' AND d < date_add('2024-01-01', INTERVAL 1 MONTH);
SELECT * FROM t WHERE d BETWEEN date_sub(curdate(), INTERVAL 7 DAY) AND curdate();
SELECT date_add(d, INTERVAL -1 DAY), date_add(d, INTERVAL '1' DAY), date_sub(d, INTERVAL 1 QUARTER), d + INTERVAL '1 02:03' DAY_MINUTE FROM t;
SELECT array_range(CAST('2024-01-01' AS DATETIME), CAST('2024-02-01' AS DATETIME), INTERVAL 1 DAY), sequence(CAST('2024-01-01' AS DATE), CAST('2024-02-01' AS DATE), INTERVAL 1 WEEK);

-- strings
SELECT concat(a, b), concat_ws('-', a, b), a || b, substring(a, 1, 3), substr(a, 2), left(a, 2), right(a, 2), mid(a, 1, 2) FROM t;
SELECT trim(a), ltrim(a), rtrim(a), trim(a, 'x'), trim_in(a, 'xy'), length(a), char_length(a), character_length(a), bit_length(a) FROM t;
SELECT lpad(a, 10, '0'), rpad(a, 10, ' '), repeat(a, 3), reverse(a), replace(a, 'x', 'y'), replace_empty(a, 'x', 'y'), translate(a, 'xy', 'ab'), space(3) FROM t;
SELECT locate('x', a), instr(a, 'x'), position('x' IN a), strpos(a, 'x'), find_in_set('x', 'x,y'), starts_with(a, 'x'), ends_with(a, 'x'), strleft(a, 2), strright(a, 2) FROM t;
SELECT split_part(a, ',', 1), substring_index(a, '.', 2), initcap(a), lcase(a), ucase(a), ascii(a), char(65, 66), char(65 USING utf8), hex(a), unhex('41'), unicode_normalize(a, 'NFC') FROM t;
SELECT md5(a), md5sum(a, b), sha1(a), sha2(a, 256), sm3(a), crc32(a), murmur_hash3_32(a), murmur_hash3_64(a), xxhash_32(a), xxhash_64(a), to_base64(a), from_base64('QQ==') FROM t;
SELECT mask(a), mask_first_n(a, 2), mask_last_n(a, 2), aes_decrypt(a, 'k'), aes_encrypt(a, 'k', 'iv', 'AES_128_CBC'), sm4_decrypt(a, 'k') FROM t;
SELECT parse_url(a, 'HOST'), extract_url_parameter(a, 'k'), domain(a), top_level_domain(a), url_decode(a), url_encode(a), protocol(a) FROM t;
SELECT ngram_search(a, 'x', 3), levenshtein(a, b), soundex(a), append_trailing_char_if_absent(a, '/'), money_format(1234.5), format_number(1234.5, 1), strcmp(a, b), format('{} {}', a, b), printf('%d', 1) FROM t;
SELECT 'a' 'b', 'a\\b', "x'y", 'x"y', 'x\'y', '%', '_', '' FROM t;
SELECT ipv4_num_to_string(1), ipv4_string_to_num('1.1.1.1'), is_ipv4_string(a), ipv6_string_to_num('::1'), is_ip_address_in_range(a, '10.0.0.0/8'), ipv4_cidr_to_range(a, 8), cut_ipv6(a, 0, 0) FROM t;

-- numbers
SELECT abs(a), ceil(a), ceil(a, 1), ceiling(a), floor(a), floor(a, -1), round(a), round(a, 2), round_bankers(a, 1), truncate(a, 1), mod(a, 3), pmod(a, 3), fmod(a, 3), sign(a) FROM t;
SELECT sqrt(a), cbrt(a), pow(a, 2), power(a, 2), exp(a), ln(a), log(2, a), log2(a), log10(a), pi(), e(), degrees(a), radians(a), sin(a), cos(a), tan(a), asin(a), acos(a), atan(a), atan2(a, b), cosh(a) FROM t;
SELECT bin(a), conv(a, 10, 16), running_difference(a), positive(a), negative(a), width_bucket(a, 0, 10, 5), xor(a, b), bit_count(a), crc32_internal(a), gcd(a, b), lcm(a, b), isnan(a) FROM t;
SELECT 99999999999999999999999999999999999999, -170141183460469231731687303715884105728, 1.0E-5, 1e308;

-- geometry
SELECT st_point(1, 2), st_astext(st_point(1, 2)), st_distance_sphere(1, 2, 3, 4), st_contains(st_polygon('POLYGON ((0 0, 1 0, 1 1, 0 0))'), st_point(0.5, 0.2)), st_x(p), st_y(p), st_geometryfromtext('POINT (1 2)') FROM t;

-- clauses on tables
SELECT * FROM t TABLET(10001) LIMIT 1;
SELECT * FROM t TABLET(10001, 10002) x;
SELECT * FROM t PARTITION (p1, p2) WHERE a = 1;
SELECT * FROM t PARTITION p1;
SELECT * FROM t PARTITIONS (p1, p2) AS x;
SELECT * FROM t TEMPORARY PARTITION (tp1);
SELECT * FROM t TABLESAMPLE(10 PERCENT);
SELECT * FROM t TABLESAMPLE(1000 ROWS) REPEATABLE 2;
SELECT * FROM t PARTITION (p1) TABLET(10001) x TABLESAMPLE(10 PERCENT);
SELECT * FROM t x TABLESAMPLE(10 ROWS);
SELECT * FROM t INDEX mv1 WHERE a = 1;
SELECT * FROM iceberg.db.t FOR VERSION AS OF 868895038966572;
SELECT * FROM iceberg.db.t FOR TIME AS OF '2024-01-01 00:00:00';
SELECT * FROM iceberg.db.t FOR VERSION AS OF 'branch1' x;
SELECT * FROM iceberg.db.t@branch(b1);
SELECT * FROM iceberg.db.t@tag(t1) AS x WHERE a = 1;
SELECT * FROM iceberg.db.t$snapshots;
SELECT * FROM iceberg.db.`t$partitions`;
SELECT * FROM paimon.db.t@incr('startSnapshotId'='0', 'endSnapshotId'='5');
SELECT * FROM t PARTITION date, u TEMPORARY PARTITIONS (`p-1`, 2nd) WHERE t.a = u.a;
SELECT * FROM t FOR TIME AS OF '2024-01-01 00:00:00' JOIN u FOR VERSION AS OF 5 ON t.a = u.a;
SELECT * FROM hudi.db.t@incr('beginTime' = '20240101000000');

-- select lists
SELECT * EXCEPT (a) FROM t;
SELECT * EXCEPT (a, b) FROM t WHERE c = 1;
SELECT t.* EXCEPT (a) FROM t;
SELECT * REPLACE (a + 1 AS a) FROM t;
SELECT *, a + 1 AS b FROM t;
SELECT a b, c AS d, e 'f', g AS 'h', i AS "j" FROM t;
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS x (id, name);
SELECT count(*) AS `count(*)` FROM t;
SELECT t.a AS x, x + 1 AS y FROM t;
SELECT DISTINCT * FROM t;

-- functions of one's own and aliases
SELECT my_udf(a), db.my_udf(a, b), my_agg(DISTINCT a) FROM t;
SELECT `my-udf`(a) FROM t;
SELECT aes_decrypt(a, KEY my_key), aes_decrypt(a, KEY db.my_key) FROM t;
SELECT dict_get('db.dict', 'v', k), last_query_id(), sm4_encrypt(a, 'k'), is_uuid(a), esquery(a, '{"match": {"b": "x"}}') FROM t;

-- metadata
SELECT * FROM information_schema.tables WHERE table_schema = 'ssb';
SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = database() ORDER BY ordinal_position;
SELECT * FROM information_schema.partitions;
SELECT * FROM internal.information_schema.schemata;
SELECT * FROM __internal_schema.column_statistics;

-- whole questions
SELECT lo_orderpriority, d_year, sum(lo_revenue - lo_supplycost) AS profit FROM lineorder JOIN dates ON lo_orderdate = d_datekey WHERE d_year BETWEEN 1992 AND 1997 GROUP BY 1, 2 ORDER BY profit DESC LIMIT 20;
SELECT c_nation, s_nation, d_year, sum(lo_revenue) AS revenue FROM customer, lineorder, supplier, dates WHERE lo_custkey = c_custkey AND lo_suppkey = s_suppkey AND lo_orderdate = d_datekey AND c_region = 'ASIA' GROUP BY c_nation, s_nation, d_year ORDER BY d_year ASC, revenue DESC;
SELECT d, uv, uv - lag(uv) OVER (ORDER BY d) AS change FROM (SELECT date(ts) AS d, bitmap_union_count(to_bitmap(uid)) AS uv FROM events GROUP BY date(ts)) x ORDER BY d;
WITH daily AS (SELECT date_trunc(ts, 'day') AS d, count(*) AS n FROM events WHERE ts >= date_sub(now(), INTERVAL 30 DAY) GROUP BY 1) SELECT d, n, avg(n) OVER (ORDER BY d ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS weekly FROM daily ORDER BY d;
SELECT user_id, count(DISTINCT CASE WHEN event = 'pay' THEN order_id END) / nullif(count(*), 0) AS rate FROM events GROUP BY user_id HAVING rate > 0.1 ORDER BY rate DESC LIMIT 100;
SELECT JSON_EXTRACT_STRING(payload, '$.device.os') AS os, percentile_approx(latency, 0.95) AS p95 FROM requests WHERE path LIKE '/api/%' AND status >= 500 GROUP BY os ORDER BY p95 DESC;
