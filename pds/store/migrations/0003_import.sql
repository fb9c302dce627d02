-- Repositories that are being replaced as a whole, as by an import. The name of the replacement stands here from the moment at which it is certain to
-- come until its last record is in place; the rows of the repository are of no use meanwhile.
ALTER TABLE repo ADD COLUMN replacing TEXT;
