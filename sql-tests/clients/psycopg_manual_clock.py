"""The manual clock over psycopg: feeds, watermarks, windows, cursors, types, errors.

    python psycopg_manual_clock.py PORT

The server runs with --manual-clock and is empty. Exits with 0 if every step is as wanted.
"""

import datetime as dt
import decimal
import sys
import uuid

import psycopg

UTC = dt.timezone.utc


def connect(port):
    return psycopg.connect(
        host="127.0.0.1", port=port, user="headwater", dbname="headwater", autocommit=True
    )


def at(seconds):
    return dt.datetime(2026, 1, 1, 12, 0, tzinfo=UTC) + dt.timedelta(seconds=seconds)


def equal(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}\n  got:    {got!r}\n  wanted: {wanted!r}")


def refused(connection, sql, code, parameters=None):
    try:
        connection.execute(sql, parameters)
    except psycopg.Error as e:
        equal(f"SQLSTATE of {sql}", e.sqlstate, code)
        return e
    raise AssertionError(f"not refused: {sql}")


def windows(c):
    """Rows, then the watermark, each visible with the next STEP."""
    c.execute("ADVANCE CLOCK TO TIMESTAMPTZ '2026-01-01 12:00:00+00'")
    c.execute(
        "CREATE SOURCE scores (team TEXT, score INT, ts TIMESTAMPTZ,"
        " WATERMARK FOR ts AS SOURCE_WATERMARK()) WITH (connector = 'feed')"
    )
    c.execute(
        "CREATE MATERIALIZED VIEW live AS SELECT team, window_end, sum(score) AS total"
        " FROM TUMBLE(scores, ts, INTERVAL '1 minute') GROUP BY team, window_end"
    )
    c.execute(
        "CREATE MATERIALIZED VIEW final AS SELECT team, window_end, sum(score) AS total"
        " FROM TUMBLE(scores, ts, INTERVAL '1 minute') GROUP BY team, window_end EMIT FINAL"
    )
    read = "SELECT team, window_end, total FROM {} ORDER BY team, window_end"
    with c.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO scores (team, score, ts) VALUES (%s, %s, %s)",
            [("a", 5, at(10)), ("b", 7, at(20)), ("a", 3, at(70))],
        )
    equal("before STEP", c.execute(read.format("live")).fetchall(), [])
    c.execute("STEP")
    live = [("a", at(60), 5), ("a", at(120), 3), ("b", at(60), 7)]
    equal("live", c.execute(read.format("live")).fetchall(), live)
    equal("final, open windows", c.execute(read.format("final")).fetchall(), [])
    c.execute("ADVANCE WATERMARK FOR scores TO TIMESTAMPTZ '2026-01-01 12:00:59.999999+00'")
    c.execute("STEP")
    equal("a microsecond early", c.execute(read.format("final")).fetchall(), [])
    c.execute("ADVANCE WATERMARK FOR scores TO TIMESTAMPTZ '2026-01-01 12:01:00+00'")
    c.execute("STEP")
    equal(
        "final", c.execute(read.format("final")).fetchall(), [("a", at(60), 5), ("b", at(60), 7)]
    )
    c.execute("INSERT INTO scores VALUES (%s, %s, %s)", ("a", 100, at(59)))
    c.execute("STEP")
    equal("a late row", c.execute(read.format("live")).fetchall(), live)
    late = c.execute("SELECT count(*) FROM headwater.late_rows").fetchone()[0]
    equal("late rows", late, 2)


def cursor_on_changes(port, c):
    """SUBSCRIBE through a cursor on a connection of its own."""
    with connect(port) as s, s.transaction():
        s.execute("DECLARE changes CURSOR FOR SUBSCRIBE TO live WITH (SNAPSHOT = false)")
        c.execute("INSERT INTO scores VALUES ('b', 1, %s)", (at(70),))
        c.execute("STEP")
        rows = s.execute("FETCH ALL changes WITH (timeout = '10s')").fetchall()
        wanted = [(1, False, "b", at(120), 1)]
        equal("changes", [r[2:] for r in rows], wanted)
        equal("no more", s.execute("FETCH ALL changes WITH (timeout = '0s')").fetchall(), [])


def tables_and_types(c):
    """Values of every type out and in, as text and in binary."""
    c.execute(
        "CREATE TABLE kinds (id INT PRIMARY KEY, s SMALLINT, b BIGINT, n NUMERIC(12,3), r REAL,"
        " d DOUBLE PRECISION, t TEXT, f BOOLEAN, y BYTEA, da DATE, ti TIME, ts TIMESTAMP,"
        " tz TIMESTAMPTZ, iv INTERVAL, u UUID, j JSONB)"
    )
    row = (
        1, -32768, 2**63 - 1, decimal.Decimal("123456789.125"), 1.5, -0.1, "grün \U0001f30a", True,
        b"\x00\xff", dt.date(2026, 2, 28), dt.time(23, 59, 59, 999999),
        dt.datetime(1969, 12, 31, 23, 59, 59, 1), at(1), dt.timedelta(days=3, seconds=7),
        uuid.UUID("12345678-1234-5678-1234-567812345678"), psycopg.types.json.Jsonb({"a": [1, None]}),
    )  # fmt: skip
    c.execute(f"INSERT INTO kinds VALUES ({', '.join(['%s'] * len(row))})", row)
    c.execute("INSERT INTO kinds (id) VALUES (2)")
    c.execute("STEP")
    for binary in (False, True):
        with c.cursor(binary=binary) as cursor:
            got = cursor.execute("SELECT * FROM kinds WHERE id = 1").fetchone()
            equal(f"a row, binary={binary}", got[:15], row[:15])
            equal("jsonb", got[15], {"a": [1, None]})
            got = cursor.execute("SELECT * FROM kinds WHERE id = %s", (2,)).fetchone()
            equal("nulls", got, (2,) + (None,) * 15)
    refused(c, "INSERT INTO kinds (id) VALUES (1)", "23505")
    refused(c, "INSERT INTO kinds (id, s) VALUES (3, 40000)", "22003")
    refused(c, "SELECT nothing FROM kinds", "42703")
    refused(c, "SELECT 1 / %s", "22012", (0,))
    c.execute("UPDATE kinds SET n = n + 1 WHERE id = 1")
    c.execute("DELETE FROM kinds WHERE id = 2")
    c.execute("STEP")
    got = c.execute("SELECT id, n FROM kinds").fetchall()
    equal("after UPDATE and DELETE", got, [(1, decimal.Decimal("123456790.125"))])


def transactions(c):
    """Writes of a block apply together; a failed block applies nothing."""
    with c.transaction():
        c.execute("INSERT INTO kinds (id) VALUES (10)")
        c.execute("INSERT INTO kinds (id) VALUES (11)")
    try:
        with c.transaction():
            c.execute("INSERT INTO kinds (id) VALUES (12)")
            c.execute("SELECT 1/0")
    except psycopg.errors.DivisionByZero:
        pass
    c.execute("STEP")
    ids = [r[0] for r in c.execute("SELECT id FROM kinds WHERE id >= 10 ORDER BY id")]
    equal("ids", ids, [10, 11])


def server_side(c):
    """Named cursors, prepared statements, pipelines."""
    with c.transaction(), c.cursor(name="walk") as cursor:
        cursor.execute("SELECT i FROM generate_series(1, 1000) AS g(i) ORDER BY i")
        equal("fetchmany", [r[0] for r in cursor.fetchmany(3)], [1, 2, 3])
        equal("the rest", len(cursor.fetchall()), 997)
    for number in range(8):
        got = c.execute("SELECT %s::int + 1", (number,), prepare=True).fetchone()[0]
        equal("prepared", got, number + 1)
    with c.pipeline():
        answers = [c.execute("SELECT %s::bigint * 2", (n,)) for n in range(20)]
    equal("pipeline", [a.fetchone()[0] for a in answers], [2 * n for n in range(20)])


def main():
    port = int(sys.argv[1])
    with connect(port) as c:
        windows(c)
        cursor_on_changes(port, c)
        tables_and_types(c)
        transactions(c)
        server_side(c)
        error = refused(c, "ADVANCE CLOCK TO TIMESTAMPTZ '2020-01-01 00:00:00+00'", "22023")
        if not error.diag.message_primary:
            raise AssertionError("an error without a message")
    print("ok")


if __name__ == "__main__":
    main()
