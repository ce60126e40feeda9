-- Two runs of five steps, as trackio 0.43.0 stored them; other tables are left out.
CREATE TABLE metrics (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        run_id TEXT NOT NULL,
                        timestamp TEXT NOT NULL,
                        run_name TEXT NOT NULL,
                        step INTEGER NOT NULL,
                        metrics TEXT NOT NULL
                    , log_id TEXT, space_id TEXT);
INSERT INTO metrics VALUES (1, '16562542b7d54ae2b3ac35f09827f6be', '2026-11-29T17:27:20.134608+00:00', 'first', 0, CAST('{"train/loss":2.5,"train/learning_rate":0.0001,"note":"a text","eval/loss":3.0}' AS BLOB), '8f0bb207d43647cd8f02deded3a8fabc', NULL);
INSERT INTO metrics VALUES (2, '16562542b7d54ae2b3ac35f09827f6be', '2026-11-29T17:27:20.134608+00:00', 'first', 1, CAST('{"train/loss":1.25,"train/learning_rate":0.00005,"note":"a text"}' AS BLOB), '433709bc9117442390666a2ad8ff0339', NULL);
INSERT INTO metrics VALUES (3, '16562542b7d54ae2b3ac35f09827f6be', '2026-11-29T17:27:20.134608+00:00', 'first', 2, CAST('{"train/loss":0.8333333333333334,"train/learning_rate":0.000033333333333333335,"note":"a text","eval/loss":1.0}' AS BLOB), 'e8a89450f9cd45ca913aab63366296a9', NULL);
INSERT INTO metrics VALUES (4, '16562542b7d54ae2b3ac35f09827f6be', '2026-11-29T17:27:20.134608+00:00', 'first', 3, CAST('{"train/loss":0.625,"train/learning_rate":0.000025,"note":"a text"}' AS BLOB), '113e738486d5483fa65a6b36ff53730e', NULL);
INSERT INTO metrics VALUES (5, '16562542b7d54ae2b3ac35f09827f6be', '2026-11-29T17:27:20.134608+00:00', 'first', 4, CAST('{"train/loss":0.5,"train/learning_rate":0.00002,"note":"a text","eval/loss":0.6}' AS BLOB), '1fe5158cb2ca4fc49d4380f7b3f0b270', NULL);
INSERT INTO metrics VALUES (6, '21488d676ea34c4e8afcafdd0ecf0fc6', '2026-11-29T17:27:20.217781+00:00', 'second', 0, CAST('{"train/loss":2.5,"train/learning_rate":0.0001,"note":"a text","eval/loss":3.0}' AS BLOB), '66fe4edf2fc54e278b8d49a3cfe0f8bf', NULL);
INSERT INTO metrics VALUES (7, '21488d676ea34c4e8afcafdd0ecf0fc6', '2026-11-29T17:27:20.217781+00:00', 'second', 1, CAST('{"train/loss":1.25,"train/learning_rate":0.00005,"note":"a text"}' AS BLOB), '49db391723cf41578938217da64d509d', NULL);
INSERT INTO metrics VALUES (8, '21488d676ea34c4e8afcafdd0ecf0fc6', '2026-11-29T17:27:20.217781+00:00', 'second', 2, CAST('{"train/loss":0.8333333333333334,"train/learning_rate":0.000033333333333333335,"note":"a text","eval/loss":1.0}' AS BLOB), '22e70055071d47489e11225d1647711a', NULL);
INSERT INTO metrics VALUES (9, '21488d676ea34c4e8afcafdd0ecf0fc6', '2026-11-29T17:27:20.217781+00:00', 'second', 3, CAST('{"train/loss":0.625,"train/learning_rate":0.000025,"note":"a text"}' AS BLOB), '659af9062d2b437f94431a0838da0bc3', NULL);
INSERT INTO metrics VALUES (10, '21488d676ea34c4e8afcafdd0ecf0fc6', '2026-11-29T17:27:20.217781+00:00', 'second', 4, CAST('{"train/loss":0.5,"train/learning_rate":0.00002,"note":"a text","eval/loss":0.6}' AS BLOB), 'c057742d6c9841798822781685c2d932', NULL);
CREATE TABLE configs (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        run_id TEXT NOT NULL,
                        run_name TEXT NOT NULL,
                        config TEXT NOT NULL,
                        created_at TEXT NOT NULL,
                        UNIQUE(run_id)
                    );
INSERT INTO configs VALUES (1, '16562542b7d54ae2b3ac35f09827f6be', 'first', CAST('{"lr":0.0001,"optim":{"name":"adamw"},"_Username":null,"_Created":"2026-11-29T17:27:20.131155+00:00","_Group":null}' AS BLOB), '2026-11-29T17:27:20.182639+00:00');
INSERT INTO configs VALUES (2, '21488d676ea34c4e8afcafdd0ecf0fc6', 'second', CAST('{"lr":0.0001,"optim":{"name":"adamw"},"_Username":null,"_Created":"2026-11-29T17:27:20.216670+00:00","_Group":null}' AS BLOB), '2026-11-29T17:27:20.235101+00:00');
