-- That the key fits the hash, for whoever has the proof secret, which is not in here; NULL: nobody has written it down.
ALTER TABLE secrets ADD COLUMN proof BLOB;
