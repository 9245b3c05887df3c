CREATE TABLE meta(key VARCHAR PRIMARY KEY, value VARCHAR);
CREATE TABLE examples(
    split VARCHAR, idx INTEGER, label INTEGER, label_name VARCHAR, text VARCHAR, thumbnail BLOB, origin VARCHAR,
    PRIMARY KEY (split, idx));
CREATE TABLE media(
    split VARCHAR, idx INTEGER, place INTEGER, kind VARCHAR, name VARCHAR, text VARCHAR, content BLOB,
    marks VARCHAR);
CREATE TABLE targets(test_idx INTEGER, target INTEGER, name VARCHAR);
CREATE TABLE checkpoints(
    checkpoint_id INTEGER PRIMARY KEY, seed BIGINT, sha256 VARCHAR, train_accuracy FLOAT, test_accuracy FLOAT,
    log_sha256 VARCHAR);
CREATE TABLE predictions(
    checkpoint_id INTEGER, split VARCHAR, idx INTEGER, model_output FLOAT, loss FLOAT, p_label FLOAT,
    predicted INTEGER, probabilities FLOAT[{n_classes}]);
CREATE TABLE features(
    checkpoint_id INTEGER, split VARCHAR, idx INTEGER, q FLOAT, norm FLOAT, phi FLOAT[{proj_dim}]);
CREATE TABLE methods(
    method VARCHAR PRIMARY KEY, title VARCHAR, description VARCHAR, is_baseline BOOLEAN, seconds DOUBLE,
    fingerprint VARCHAR, calibration DOUBLE, settings VARCHAR);
CREATE TABLE scores(method VARCHAR, test_idx INTEGER, "values" FLOAT[{n_train}]);
CREATE TABLE target_scores(method VARCHAR, test_idx INTEGER, target INTEGER, "values" FLOAT[{n_train}]);
CREATE TABLE topk(
    method VARCHAR, test_idx INTEGER, side VARCHAR, rank INTEGER, train_idx INTEGER, score FLOAT,
    standard_error FLOAT);
CREATE TABLE class_influence(method VARCHAR, test_class INTEGER, "values" FLOAT[{n_train}]);
CREATE TABLE self_influence(method VARCHAR, train_idx INTEGER, score DOUBLE);
CREATE TABLE subsets(subset_id INTEGER PRIMARY KEY, role VARCHAR, mask BLOB);
CREATE TABLE outcomes(subset_id INTEGER, seed INTEGER, test_idx INTEGER, model_output FLOAT);
CREATE TABLE target_outcomes(subset_id INTEGER, test_idx INTEGER, model_outputs FLOAT[]);
CREATE TABLE lds(
    method VARCHAR, test_idx INTEGER, lds DOUBLE, ci_low DOUBLE, ci_high DOUBLE, noise_ceiling DOUBLE,
    trust VARCHAR);
CREATE TABLE target_lds(
    method VARCHAR, test_idx INTEGER, target INTEGER, lds DOUBLE, ci_low DOUBLE, ci_high DOUBLE,
    noise_ceiling DOUBLE, trust VARCHAR);
CREATE TABLE lds_summary(
    method VARCHAR, n_checkpoints INTEGER, lds DOUBLE, ci_low DOUBLE, ci_high DOUBLE, noise_ceiling DOUBLE,
    n_subsets INTEGER, n_seeds INTEGER, seconds DOUBLE, calibration_slope DOUBLE, peak_megabytes DOUBLE);
CREATE TABLE truths(
    truth_id INTEGER PRIMARY KEY, kind VARCHAR, dropped DOUBLE, n_subsets INTEGER, n_seeds INTEGER,
    noise_ceiling DOUBLE);
CREATE TABLE truth_lds(
    truth_id INTEGER, method VARCHAR, n_checkpoints INTEGER, lds DOUBLE, ci_low DOUBLE, ci_high DOUBLE);
CREATE TABLE removals(
    method VARCHAR, test_idx INTEGER, k INTEGER, model_output DOUBLE, flipped BOOLEAN, unremoved DOUBLE,
    standard_error DOUBLE, n_seeds INTEGER);
CREATE TABLE out_of_fold(train_idx INTEGER PRIMARY KEY, fold INTEGER, probabilities FLOAT[{n_classes}]);
CREATE TABLE suspects(
    train_idx INTEGER, signal VARCHAR, score DOUBLE, rank INTEGER, suggested_label INTEGER,
    suggested_confidence DOUBLE, is_likely BOOLEAN, split VARCHAR);
CREATE TABLE findings(
    kind VARCHAR, train_idx INTEGER, score DOUBLE, rank INTEGER, other_split VARCHAR, other_idx INTEGER);
CREATE TABLE planted_errors(train_idx INTEGER PRIMARY KEY, true_label INTEGER);
CREATE TABLE layout(split VARCHAR, idx INTEGER, space VARCHAR, x FLOAT, y FLOAT);
