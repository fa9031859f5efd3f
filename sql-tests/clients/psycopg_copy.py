"""COPY over psycopg: rows in and out in text and CSV, and what is refused.

    python psycopg_copy.py PORT

The server runs with --manual-clock and is empty. Exits with 0 if every step is as wanted.
"""

import sys

import psycopg


def equal(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}\n  got:    {got!r}\n  wanted: {wanted!r}")


def put(connection, sql, *chunks):
    with connection.cursor() as cursor:
        with cursor.copy(sql) as copy:
            for chunk in chunks:
                copy.write(chunk)
        return cursor.statusmessage


def take(connection, sql):
    with connection.cursor() as cursor, cursor.copy(sql) as copy:
        return b"".join(bytes(part) for part in copy).decode()


def refused(connection, sql, data, code, text):
    try:
        put(connection, sql, data)
    except psycopg.Error as e:
        equal(f"SQLSTATE of {sql}", e.sqlstate, code)
        said = f"{e.diag.message_primary} {e.diag.message_detail}"
        if text not in said:
            raise AssertionError(f"{sql}: {said!r} does not tell {text!r}")
        return
    raise AssertionError(f"not refused: {sql}")


def main(port):
    connection = psycopg.connect(
        host="127.0.0.1", port=port, user="headwater", dbname="headwater", autocommit=True
    )
    run = connection.execute
    run(
        "CREATE TABLE t (id int PRIMARY KEY, name varchar(5), price numeric(8, 2) DEFAULT 7,"
        " at timestamptz, twice int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    run("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(price) AS s FROM t")

    # Text, in pieces that do not end with lines.
    tag = put(connection, "COPY t FROM STDIN", "1\tann\t1.5\t2026-01-01 00:00:00", "+00\n2\t\\N\t\\N\t\\N\n")
    equal("tag", tag, "COPY 2")
    # CSV with a header, some columns; DEFAULT for the others.
    tag = put(connection, "COPY t (id, name) FROM STDIN CSV HEADER", 'id,name\r\n3,"a,b"\r\n4,\r\n5,""\r\n')
    equal("tag", tag, "COPY 3")
    run("STEP")
    rows = run("SELECT id, name, price::text, twice FROM t ORDER BY id").fetchall()
    wanted = [(1, "ann", "1.50", 2), (2, None, None, 4), (3, "a,b", "7.00", 6), (4, None, "7.00", 8), (5, "", "7.00", 10)]
    equal("rows", rows, wanted)
    equal("view", run("SELECT n, s::text FROM total").fetchall(), [(5, "22.50")])

    run("SET timezone = 'UTC'")
    out = take(connection, "COPY (SELECT * FROM t ORDER BY id) TO STDOUT")
    equal("text out", out.splitlines()[0], "1\tann\t1.50\t2026-01-01 00:00:00+00\t2")
    equal("text out", out.splitlines()[1], "2\t\\N\t\\N\t\\N\t4")
    out = take(connection, "COPY (SELECT id, name FROM t ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER, DELIMITER ';')")
    equal("CSV out", out, 'id;name\n1;ann\n2;\n3;a,b\n4;\n5;""\n')
    equal("of a view", take(connection, "COPY total (n) TO STDOUT"), "5\n")

    # Out and in again is the same.
    run("CREATE TABLE u (id int PRIMARY KEY, name text, price numeric, at timestamptz)")
    for form in ["", "WITH (FORMAT csv, NULL '-')"]:
        copied = take(connection, f"COPY t (id, name, price, at) TO STDOUT {form}")
        equal("tag", put(connection, f"COPY u FROM STDIN {form}", copied), "COPY 5")
        run("STEP")
        same = run("SELECT count(*) FROM (SELECT id, name, price, at FROM t EXCEPT SELECT * FROM u) d").fetchone()
        equal("difference", same, (0,))
        run("DELETE FROM u")
        run("STEP")

    # A feed, and many rows.
    run("CREATE SOURCE f (k bigint, v double precision) WITH (connector = 'feed')")
    run("CREATE MATERIALIZED VIEW sums AS SELECT count(*) AS n, sum(k) AS s FROM f")
    many = "".join(f"{k}\t{k / 4}\n" for k in range(50_000))
    equal("tag", put(connection, "COPY f FROM STDIN", many), "COPY 50000")
    run("STEP")
    equal("sums", run("SELECT n, s::bigint FROM sums").fetchone(), (50_000, 1_249_975_000))

    # A transaction that is rolled back.
    with connection.transaction(force_rollback=True):
        put(connection, "COPY t (id) FROM STDIN", "100\n")
    equal("rolled back", run("SELECT count(*) FROM t").fetchone(), (5,))

    refused(connection, "COPY t FROM STDIN", "6\tx\ty\t\\N\n", "22P02", 'COPY t, line 1, column price: "y"')
    refused(connection, "COPY t (id) FROM STDIN", "7\n8\t9\n", "22P04", "extra data after last expected column")
    refused(connection, "COPY t FROM STDIN", "6\n", "22P04", 'missing data for column "name"')
    refused(connection, "COPY t (id, name) FROM STDIN CSV", '6,"x', "22P04", "unterminated CSV quoted field")
    refused(connection, "COPY t (id, name) FROM STDIN", "6\ttoo long\n", "22001", "character varying(5)")
    refused(connection, "COPY t (id) FROM STDIN", "1\n", "23505", "id")
    refused(connection, "COPY t (twice) FROM STDIN", "1\n", "42P10", "generated column")
    refused(connection, "COPY t (nope) FROM STDIN", "1\n", "42703", "nope")
    refused(connection, "COPY total FROM STDIN", "1\n", "42809", "cannot insert into")
    refused(connection, "COPY nowhere FROM STDIN", "1\n", "42P01", "nowhere")
    refused(connection, "COPY t FROM STDIN (FORMAT binary)", b"", "0A000", "binary")
    refused(connection, "COPY t FROM '/etc/passwd'", "", "0A000", "file or program")
    refused(connection, "COPY t FROM STDIN (FORMAT xml)", "", "42601", "xml")
    try:
        with connection.cursor() as cursor, cursor.copy("COPY t (id) FROM STDIN") as copy:
            copy.write("9\n")
            raise RuntimeError("the client gives up")
    except RuntimeError:
        pass
    run("STEP")
    equal("nothing was kept of them", run("SELECT count(*) FROM t").fetchone(), (5,))


if __name__ == "__main__":
    main(int(sys.argv[1]))
