CREATE TABLE retrainings(retraining_id VARCHAR PRIMARY KEY, asked_at TIMESTAMP, fingerprint VARCHAR, n_seeds INTEGER, relabelled INTEGER[], new_labels INTEGER[], excluded INTEGER[], result VARCHAR);
CREATE TABLE verdicts(verdict_id BIGINT PRIMARY KEY, train_idx INTEGER, verdict VARCHAR, new_label INTEGER, reviewer VARCHAR, note VARCHAR, reviewed_at TIMESTAMP, undoes BIGINT, data_fingerprint VARCHAR, split VARCHAR DEFAULT('train'));
CREATE TABLE what_ifs(what_if_id VARCHAR PRIMARY KEY, asked_at TIMESTAMP, fingerprint VARCHAR, test_idx INTEGER, removed INTEGER[], result VARCHAR);
