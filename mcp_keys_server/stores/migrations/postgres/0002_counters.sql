-- What each process has counted under a name, in the window that ends then, in seconds of Unix time. It may be lost.
CREATE UNLOGGED TABLE counters (
    name text COLLATE "C" NOT NULL,
    process text COLLATE "C" NOT NULL,
    ends_at bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (name, process)
) WITH (fillfactor = 80);

CREATE INDEX counters_by_end ON counters (ends_at);
