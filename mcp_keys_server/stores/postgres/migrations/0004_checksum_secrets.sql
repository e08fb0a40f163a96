-- With which checksum secret, by the digest with which that ends; NULL: it has no checksum, because it was imported.
ALTER TABLE secrets ADD COLUMN made_with bytea;

UPDATE secrets SET made_with = (SELECT substr(value, 33) FROM meta WHERE name = 'checksum_secret')
WHERE key_hash LIKE '$2%';
