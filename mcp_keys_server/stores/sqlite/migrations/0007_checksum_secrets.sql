-- With which checksum secret, by the digest with which that ends; NULL: it has no checksum, because it was imported, or
-- it is of a time, or of a server, that wrote none, and so has the oldest one.
ALTER TABLE secrets ADD COLUMN made_with BLOB;
