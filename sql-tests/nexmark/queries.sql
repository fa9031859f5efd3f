-- q0
SELECT auction, bidder, price, date_time, extra FROM bid
-- q1
SELECT auction, bidder, 0.908 * price AS price, date_time, extra FROM bid
-- q2
SELECT auction, price FROM bid WHERE mod(auction, 3) = 0
-- q3
SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
WHERE a.category = 10 AND p.state IN ('or', 'id', 'ca')
-- q4
SELECT q.category, round(avg(q.final), 6) AS average
FROM (SELECT max(b.price) AS final, a.category FROM auction a, bid b
      WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
      GROUP BY a.id, a.category) q
GROUP BY q.category
-- q5
SELECT counted.auction, counted.num
FROM (SELECT auction, count(*) AS num, window_start, window_end
      FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
      GROUP BY auction, window_start, window_end) counted
JOIN (SELECT max(num) AS most, window_start, window_end
      FROM (SELECT count(*) AS num, window_start, window_end
            FROM HOP(bid, date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')
            GROUP BY auction, window_start, window_end) counts
      GROUP BY window_start, window_end) best
ON counted.window_start = best.window_start AND counted.window_end = best.window_end AND counted.num >= best.most
-- q6
SELECT q.seller, q.id, round(avg(q.price) OVER (PARTITION BY q.seller ORDER BY q.date_time, q.id ROWS BETWEEN 10 PRECEDING AND CURRENT ROW), 6) AS average
FROM (SELECT id, seller, price, date_time,
             row_number() OVER (PARTITION BY id, seller ORDER BY price DESC, date_time, bidder) AS place
      FROM (SELECT a.id, a.seller, b.price, b.date_time, b.bidder FROM auction a, bid b
            WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires) bids) q
WHERE q.place <= 1
-- q7
SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
FROM bid b
JOIN (SELECT max(price) AS most, window_end AS until
      FROM TUMBLE(bid, date_time, INTERVAL '10 seconds')
      GROUP BY window_start, window_end) best ON b.price = best.most
WHERE b.date_time BETWEEN best.until - INTERVAL '10 seconds' AND best.until
-- q8
SELECT p.id, p.name, p.window_start
FROM (SELECT id, name, window_start, window_end FROM TUMBLE(person, date_time, INTERVAL '10 seconds')
      GROUP BY id, name, window_start, window_end) p
JOIN (SELECT seller, window_start, window_end FROM TUMBLE(auction, date_time, INTERVAL '10 seconds')
      GROUP BY seller, window_start, window_end) a
ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end
-- q9
SELECT id, item_name, description, initial_bid, reserve, opened, expires, seller, category, auction, bidder, price, bid_time, bid_extra
FROM (SELECT a.id, a.item_name, a.description, a.initial_bid, a.reserve, a.date_time AS opened, a.expires, a.seller, a.category,
             b.auction, b.bidder, b.price, b.date_time AS bid_time, b.extra AS bid_extra,
             row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time, b.bidder) AS place
      FROM auction a, bid b
      WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires) q
WHERE place <= 1
-- q10
SELECT auction, bidder, price, date_time, extra, to_char(date_time, 'YYYY-MM-DD') AS day, to_char(date_time, 'HH24:MI') AS minute FROM bid
-- q11
SELECT bidder, count(*) AS bids, window_start, window_end
FROM SESSION(bid PARTITION BY bidder, date_time, INTERVAL '10 seconds')
GROUP BY bidder, window_start, window_end
-- q12
SELECT bidder, count(*) AS bids, window_start, window_end
FROM TUMBLE(bid, p_time, INTERVAL '10 seconds')
GROUP BY bidder, window_start, window_end
-- q13
SELECT b.auction, b.bidder, b.price, b.date_time, s.value
FROM bid b JOIN side_input FOR SYSTEM_TIME AS OF proctime() AS s ON mod(b.auction, 10) = s.key
-- q14
SELECT auction, bidder, 0.908 * price AS price,
       CASE WHEN extract(hour FROM date_time) BETWEEN 8 AND 18 THEN 'day'
            WHEN extract(hour FROM date_time) <= 6 OR extract(hour FROM date_time) >= 20 THEN 'night'
            ELSE 'other' END AS kind,
       date_time, extra, length(extra) - length(replace(extra, 'c', '')) AS c_counts
FROM bid WHERE 0.908 * price > 1000 AND 0.908 * price < 50000000
-- q15
SELECT to_char(date_time, 'YYYY-MM-DD') AS day, count(*) AS bids,
       count(*) FILTER (WHERE price < 10000) AS low, count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle,
       count(*) FILTER (WHERE price >= 1000000) AS high,
       count(DISTINCT bidder) AS bidders, count(DISTINCT bidder) FILTER (WHERE price < 10000) AS low_bidders,
       count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_bidders,
       count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS high_bidders,
       count(DISTINCT auction) AS auctions, count(DISTINCT auction) FILTER (WHERE price < 10000) AS low_auctions,
       count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_auctions,
       count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS high_auctions
FROM bid GROUP BY to_char(date_time, 'YYYY-MM-DD')
-- q16
SELECT channel, to_char(date_time, 'YYYY-MM-DD') AS day, max(to_char(date_time, 'HH24:MI')) AS minute, count(*) AS bids,
       count(*) FILTER (WHERE price < 10000) AS low, count(*) FILTER (WHERE price >= 1000000) AS high,
       count(DISTINCT bidder) AS bidders, count(DISTINCT bidder) FILTER (WHERE price < 10000) AS low_bidders,
       count(DISTINCT auction) AS auctions, count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS high_auctions
FROM bid GROUP BY channel, to_char(date_time, 'YYYY-MM-DD')
-- q17
SELECT auction, to_char(date_time, 'YYYY-MM-DD') AS day, count(*) AS bids,
       count(*) FILTER (WHERE price < 10000) AS low, count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle,
       count(*) FILTER (WHERE price >= 1000000) AS high, min(price) AS least, max(price) AS most,
       round(avg(price), 6) AS average, sum(price) AS total
FROM bid GROUP BY auction, to_char(date_time, 'YYYY-MM-DD')
-- q18
SELECT auction, bidder, price, channel, url, date_time, extra
FROM (SELECT auction, bidder, price, channel, url, date_time, extra,
             row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, price, url) AS place FROM bid) q
WHERE place <= 1
-- q19
SELECT auction, bidder, price, channel, url, date_time, extra, place
FROM (SELECT auction, bidder, price, channel, url, date_time, extra,
             row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time, bidder, url) AS place FROM bid) q
WHERE place <= 10
-- q20
SELECT auction, bidder, price, channel, url, b.date_time AS bid_time, b.extra AS bid_extra,
       item_name, description, initial_bid, reserve, a.date_time AS opened, expires, seller, category, a.extra AS auction_extra
FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10
-- q21
SELECT auction, bidder, price, channel,
       CASE lower(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3'
       ELSE (regexp_match(url, '(&|^)channel_id=([^&]*)'))[2] END AS channel_id
FROM bid
WHERE (regexp_match(url, '(&|^)channel_id=([^&]*)'))[2] IS NOT NULL OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')
-- q22
SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1, split_part(url, '/', 5) AS dir2, split_part(url, '/', 6) AS dir3 FROM bid
