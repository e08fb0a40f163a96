-- What each process has counted under a name, in the window that ends then, in seconds of Unix time.
CREATE TABLE counters (
    name TEXT NOT NULL,
    process TEXT NOT NULL,
    ends_at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (name, process)
) STRICT, WITHOUT ROWID;

CREATE INDEX counters_by_end ON counters (ends_at);
