//! The texts of the Nexmark queries, as views and as DataFusion computes them once.
//!
//! After nexmark/nexmark and risingwavelabs/nexmark-bench, spelled in PostgreSQL's dialect; `bid`
//! is a view on the event stream. `goal` and `goal_ratio` are what issues ask for.

/// The eleven counts of q15 and q16.
macro_rules! statistics {
    () => {
        "count(*) AS total_bids,
         count(*) FILTER (WHERE price < 10000) AS rank1_bids,
         count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
         count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
         count(DISTINCT bidder) AS total_bidders,
         count(DISTINCT bidder) FILTER (WHERE price < 10000) AS rank1_bidders,
         count(DISTINCT bidder) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bidders,
         count(DISTINCT bidder) FILTER (WHERE price >= 1000000) AS rank3_bidders,
         count(DISTINCT auction) AS total_auctions,
         count(DISTINCT auction) FILTER (WHERE price < 10000) AS rank1_auctions,
         count(DISTINCT auction) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_auctions,
         count(DISTINCT auction) FILTER (WHERE price >= 1000000) AS rank3_auctions"
    };
}

pub struct Query {
    pub name: &'static str,
    pub sql: &'static str,
    /// The same over DataFusion's table `event`.
    pub baseline: &'static str,
    /// Events per CPU-second to be reached.
    pub goal: f64,
    pub goal_ratio: f64,
}

pub const QUERIES: [Query; 17] = [
    Query {
        name: "q0",
        sql: "SELECT auction, bidder, price, date_time, extra FROM bid",
        baseline: "SELECT auction, bidder, price, date_time, extra FROM event WHERE event_type = 2",
        goal: 15e6,
        goal_ratio: 1.5,
    },
    Query {
        name: "q1",
        sql: "SELECT auction, bidder, 0.908 * price AS price, date_time, extra FROM bid",
        baseline: "SELECT auction, bidder, 0.908 * price AS price, date_time, extra FROM event WHERE event_type = 2",
        goal: 15e6,
        goal_ratio: 1.5,
    },
    Query {
        name: "q2",
        sql: "SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0",
        baseline: "SELECT auction, price FROM event WHERE event_type = 2 AND auction % 123 = 0",
        goal: 15e6,
        goal_ratio: 1.5,
    },
    Query {
        name: "q5",
        sql: "SELECT AuctionBids.auction, AuctionBids.num FROM (
                SELECT auction, count(*) AS num, window_start AS starttime, window_end AS endtime
                FROM HOP(bid, date_time, INTERVAL '2' SECOND, INTERVAL '10' SECOND)
                GROUP BY auction, window_start, window_end) AS AuctionBids
              JOIN (
                SELECT max(CountBids.num) AS maxn, CountBids.starttime, CountBids.endtime FROM (
                  SELECT count(*) AS num, window_start AS starttime, window_end AS endtime
                  FROM HOP(bid, date_time, INTERVAL '2' SECOND, INTERVAL '10' SECOND)
                  GROUP BY auction, window_start, window_end) AS CountBids
                GROUP BY CountBids.starttime, CountBids.endtime) AS MaxBids
              ON AuctionBids.starttime = MaxBids.starttime AND AuctionBids.endtime = MaxBids.endtime
                AND AuctionBids.num >= MaxBids.maxn",
        baseline: "WITH counts AS (
                SELECT auction, w - h.column1 AS w, count(*) AS num FROM (
                  SELECT auction, (date_time::bigint / 2000000) AS w FROM event WHERE event_type = 2) b
                CROSS JOIN (VALUES (0), (1), (2), (3), (4)) h GROUP BY 1, 2)
              SELECT a.auction, a.num FROM counts a
              JOIN (SELECT max(num) AS maxn, w FROM counts GROUP BY w) m ON a.w = m.w AND a.num >= m.maxn",
        goal: 2.5e6,
        goal_ratio: 3.0,
    },
    Query {
        name: "q11",
        sql: "SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
              FROM SESSION(bid PARTITION BY bidder, date_time, INTERVAL '10' SECOND)
              GROUP BY bidder, window_start, window_end",
        baseline: "SELECT bidder, count(*), min(date_time), max(date_time) FROM (
                SELECT bidder, date_time, sum(fresh) OVER (PARTITION BY bidder ORDER BY date_time
                    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS session FROM (
                  SELECT bidder, date_time, CASE WHEN date_time > lag(date_time) OVER
                    (PARTITION BY bidder ORDER BY date_time) + INTERVAL '10 seconds' THEN 1 ELSE 0 END AS fresh
                  FROM event WHERE event_type = 2) bids) numbered GROUP BY bidder, session",
        goal: 2e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q12",
        sql: "SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
              FROM TUMBLE((SELECT *, proctime() AS p_time FROM bid), p_time, INTERVAL '10' SECOND)
              GROUP BY bidder, window_start, window_end",
        baseline: "SELECT bidder, count(*), TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01 00:00:10'
              FROM event WHERE event_type = 2 GROUP BY bidder",
        goal: 8e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q9",
        sql: "SELECT id, item_name, description, initial_bid, reserve, a_time, expires, seller, category, a_extra,
                auction, bidder, price, bid_time, bid_extra FROM (
                SELECT a.*, b.auction, b.bidder, b.price, b.date_time AS bid_time, b.extra AS bid_extra,
                  row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS rownum
                FROM (SELECT id, item_name, description, initial_bid, reserve, date_time AS a_time, expires,
                    seller, category, extra AS a_extra FROM event WHERE event_type = 1) a
                JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.a_time AND a.expires) x
              WHERE rownum <= 1",
        baseline: "SELECT id, item_name, description, initial_bid, reserve, a_time, expires, seller, category, a_extra,
                auction, bidder, price, bid_time, bid_extra FROM (
                SELECT a.*, b.auction, b.bidder, b.price, b.date_time AS bid_time, b.extra AS bid_extra,
                  row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS rownum
                FROM (SELECT id, item_name, description, initial_bid, reserve, date_time AS a_time, expires,
                    seller, category, extra AS a_extra FROM event WHERE event_type = 1) a
                JOIN (SELECT * FROM event WHERE event_type = 2) b
                  ON a.id = b.auction AND b.date_time BETWEEN a.a_time AND a.expires) x
              WHERE rownum <= 1",
        goal: 0.8e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q18",
        sql: "SELECT auction, bidder, price, channel, url, date_time, extra FROM (
                SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) AS rank_number
                FROM bid) AS ranked WHERE rank_number <= 1",
        baseline: "SELECT auction, bidder, price, channel, url, date_time, extra FROM (
                SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) AS rank_number
                FROM event WHERE event_type = 2) AS ranked WHERE rank_number <= 1",
        goal: 2e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q19",
        sql: "SELECT * FROM (
                SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number
                FROM bid) AS ranked WHERE rank_number <= 10",
        baseline: "SELECT * FROM (
                SELECT auction, bidder, price, channel, url, date_time, extra,
                  row_number() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number
                FROM event WHERE event_type = 2) AS ranked WHERE rank_number <= 10",
        goal: 1e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q3",
        sql: "SELECT p.name, p.city, p.state, a.id
              FROM (SELECT id, seller, category FROM event WHERE event_type = 1) a
              JOIN (SELECT id, name, city, state FROM event WHERE event_type = 0) p ON a.seller = p.id
              WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA')",
        baseline: "SELECT p.name, p.city, p.state, a.id
              FROM (SELECT id, seller, category FROM event WHERE event_type = 1) a
              JOIN (SELECT id, name, city, state FROM event WHERE event_type = 0) p ON a.seller = p.id
              WHERE a.category = 10 AND (p.state = 'OR' OR p.state = 'ID' OR p.state = 'CA')",
        goal: 8e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q4",
        sql: "SELECT q.category, avg(q.final) FROM (
                SELECT max(b.price) AS final, a.category
                FROM (SELECT id, category, date_time, expires FROM event WHERE event_type = 1) a, bid b
                WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
                GROUP BY a.id, a.category) q
              GROUP BY q.category",
        baseline: "SELECT q.category, avg(q.final) FROM (
                SELECT max(b.price) AS final, a.category
                FROM (SELECT id, category, date_time, expires FROM event WHERE event_type = 1) a,
                  (SELECT auction, price, date_time FROM event WHERE event_type = 2) b
                WHERE a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
                GROUP BY a.id, a.category) q
              GROUP BY q.category",
        goal: 3e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q7",
        sql: "SELECT b.auction, b.price, b.bidder, b.date_time, b.extra FROM bid b JOIN (
                SELECT max(price) AS maxprice, window_end AS date_time
                FROM TUMBLE(bid, date_time, INTERVAL '10' SECOND) GROUP BY window_start, window_end) b1
              ON b.price = b1.maxprice
              WHERE b.date_time BETWEEN b1.date_time - INTERVAL '10' SECOND AND b1.date_time",
        baseline: "SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
              FROM (SELECT * FROM event WHERE event_type = 2) b JOIN (
                SELECT max(price) AS maxprice, (w + 1) * 10000000 AS window_end FROM (
                  SELECT price, date_time::bigint / 10000000 AS w FROM event WHERE event_type = 2) x
                GROUP BY w) b1
              ON b.price = b1.maxprice
              WHERE b.date_time::bigint BETWEEN b1.window_end - 10000000 AND b1.window_end",
        goal: 2e6,
        goal_ratio: 8.0,
    },
    Query {
        name: "q8",
        sql: "SELECT p.id, p.name, p.starttime FROM (
                SELECT id, name, window_start AS starttime, window_end AS endtime
                FROM TUMBLE((SELECT id, name, date_time FROM event WHERE event_type = 0), date_time, INTERVAL '10' SECOND)
                GROUP BY id, name, window_start, window_end) p
              JOIN (
                SELECT seller, window_start AS starttime, window_end AS endtime
                FROM TUMBLE((SELECT seller, date_time FROM event WHERE event_type = 1), date_time, INTERVAL '10' SECOND)
                GROUP BY seller, window_start, window_end) a
              ON p.id = a.seller AND p.starttime = a.starttime AND p.endtime = a.endtime",
        baseline: "SELECT p.id, p.name, p.w FROM (
                SELECT id, name, date_time::bigint / 10000000 AS w FROM event WHERE event_type = 0
                GROUP BY 1, 2, 3) p
              JOIN (SELECT seller, date_time::bigint / 10000000 AS w FROM event WHERE event_type = 1
                GROUP BY 1, 2) a
              ON p.id = a.seller AND p.w = a.w",
        goal: 5e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q15",
        sql: concat!("SELECT to_char(date_time, 'YYYY-MM-DD') AS day, ", statistics!(), " FROM bid GROUP BY 1"),
        baseline: concat!(
            "SELECT to_char(date_time, '%Y-%m-%d') AS day, ", statistics!(),
            " FROM event WHERE event_type = 2 GROUP BY 1"
        ),
        goal: 1.5e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q16",
        sql: concat!(
            "SELECT channel, to_char(date_time, 'YYYY-MM-DD') AS day, max(to_char(date_time, 'HH24:MI')) AS minute, ",
            statistics!(), " FROM bid GROUP BY 1, 2"
        ),
        baseline: concat!(
            "SELECT channel, to_char(date_time, '%Y-%m-%d') AS day, max(to_char(date_time, '%H:%M')) AS minute, ",
            statistics!(), " FROM event WHERE event_type = 2 GROUP BY 1, 2"
        ),
        goal: 0.5e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q17",
        sql: "SELECT auction, to_char(date_time, 'YYYY-MM-DD') AS day, count(*) AS total_bids,
                count(*) FILTER (WHERE price < 10000) AS rank1_bids,
                count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
                count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
                min(price), max(price), avg(price), sum(price)
              FROM bid GROUP BY 1, 2",
        baseline: "SELECT auction, to_char(date_time, '%Y-%m-%d') AS day, count(*) AS total_bids,
                count(*) FILTER (WHERE price < 10000) AS rank1_bids,
                count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
                count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
                min(price), max(price), avg(price), sum(price)
              FROM event WHERE event_type = 2 GROUP BY 1, 2",
        goal: 3e6,
        goal_ratio: f64::INFINITY,
    },
    Query {
        name: "q20",
        sql: "SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.date_time, b.extra, a.item_name,
                a.description, a.initial_bid, a.reserve, a.a_time, a.expires, a.seller, a.category, a.a_extra
              FROM bid b JOIN (SELECT id, item_name, description, initial_bid, reserve, date_time AS a_time,
                  expires, seller, category, extra AS a_extra FROM event WHERE event_type = 1) a
              ON b.auction = a.id WHERE a.category = 10",
        baseline: "SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.date_time, b.extra, a.item_name,
                a.description, a.initial_bid, a.reserve, a.a_time, a.expires, a.seller, a.category, a.a_extra
              FROM (SELECT * FROM event WHERE event_type = 2) b
              JOIN (SELECT id, item_name, description, initial_bid, reserve, date_time AS a_time,
                  expires, seller, category, extra AS a_extra FROM event WHERE event_type = 1) a
              ON b.auction = a.id WHERE a.category = 10",
        goal: 1e6,
        goal_ratio: f64::INFINITY,
    },
];
