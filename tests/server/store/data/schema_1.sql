-- A service's database as tuner 0.1.0 of schema 1 left it: sqlite3 service.db .dump
BEGIN TRANSACTION;
CREATE TABLE "key" (
	id VARCHAR NOT NULL, 
	email_address TEXT NOT NULL, 
	groups TEXT NOT NULL, 
	salt BLOB NOT NULL, 
	digest BLOB NOT NULL, 
	create_ms BIGINT NOT NULL, 
	revoke_ms BIGINT, 
	PRIMARY KEY (id)
);
INSERT INTO "key" VALUES('aaaaaaaaaa','Ana@Example.com','["Team@Example.com", "lab@example.com"]',X'000173616C74',X'64696765737431',1700000000000,NULL);
INSERT INTO "key" VALUES('bbbbbbbbbb','ben@example.com','["team@example.com"]',X'73616C7432',X'64696765737432',1700000000001,NULL);
INSERT INTO "key" VALUES('cccccccccc','ana@example.com','["team@example.com"]',X'73616C7433',X'64696765737433',1700000000002,1700000000009);
CREATE TABLE model (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name VARCHAR NOT NULL, 
	uid VARCHAR NOT NULL, 
	base_model VARCHAR NOT NULL, 
	source VARCHAR NOT NULL, 
	display_name TEXT NOT NULL, 
	description TEXT NOT NULL, 
	search_text TEXT NOT NULL, 
	temperature FLOAT NOT NULL, 
	top_p FLOAT NOT NULL, 
	top_k INTEGER NOT NULL, 
	state VARCHAR NOT NULL, 
	epoch_count INTEGER NOT NULL, 
	batch_size INTEGER NOT NULL, 
	learning_rate FLOAT NOT NULL, 
	create_ms BIGINT NOT NULL, 
	update_ms BIGINT NOT NULL, 
	start_ms BIGINT, 
	complete_ms BIGINT, 
	UNIQUE (name), 
	UNIQUE (uid)
);
INSERT INTO "model" VALUES(1,'tunedModels/done','uiddone','models/tiny','','Größe uiddone','says it','grösse uiddone
says it',0.7,0.9,40,'ACTIVE',2,4,0.001,1700000000000,1700000001300,1700000001000,1700000001300);
INSERT INTO "model" VALUES(2,'tunedModels/failed','uidfailed','models/tiny','','Größe uidfailed','says it','grösse uidfailed
says it',0.7,0.9,40,'FAILED',2,4,0.001,1700000000000,1700000002200,1700000002000,1700000002200);
INSERT INTO "model" VALUES(3,'tunedModels/running','uidrunning','models/tiny','','Größe uidrunning','says it','grösse uidrunning
says it',0.7,0.9,40,'CREATING',2,4,0.001,1700000000000,1700000000000,1700000003000,NULL);
CREATE TABLE operation (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	name VARCHAR NOT NULL, 
	model VARCHAR NOT NULL, 
	total_steps INTEGER NOT NULL, 
	completed_steps INTEGER NOT NULL, 
	done BOOLEAN NOT NULL, 
	error_code INTEGER NOT NULL, 
	error_message TEXT NOT NULL, 
	forgotten BOOLEAN NOT NULL, 
	UNIQUE (name), 
	UNIQUE (model), 
	FOREIGN KEY(model) REFERENCES model (name) ON DELETE CASCADE
);
INSERT INTO "operation" VALUES(1,'tunedModels/done/operations/uiddone','tunedModels/done',2,2,1,0,'',0);
INSERT INTO "operation" VALUES(2,'tunedModels/failed/operations/uidfailed','tunedModels/failed',2,1,1,13,'the disk said no',0);
INSERT INTO "operation" VALUES(3,'tunedModels/running/operations/uidrunning','tunedModels/running',2,1,0,0,'',0);
CREATE TABLE permission (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	model VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	grantee_type VARCHAR NOT NULL, 
	email_address TEXT NOT NULL, 
	grantee TEXT NOT NULL, 
	role VARCHAR NOT NULL, 
	UNIQUE (model, id), 
	UNIQUE (model, grantee), 
	FOREIGN KEY(model) REFERENCES model (name) ON DELETE CASCADE
);
INSERT INTO "permission" VALUES(1,'tunedModels/done','ownerdone','USER','Ana@Example.com','USER:ana@example.com','OWNER');
INSERT INTO "permission" VALUES(2,'tunedModels/failed','ownerfailed','USER','Ana@Example.com','USER:ana@example.com','OWNER');
INSERT INTO "permission" VALUES(3,'tunedModels/running','ownerrunning','USER','Ana@Example.com','USER:ana@example.com','OWNER');
INSERT INTO "permission" VALUES(4,'tunedModels/done','team','GROUP','Team@Example.com','GROUP:team@example.com','READER');
INSERT INTO "permission" VALUES(5,'tunedModels/done','all','EVERYONE','','EVERYONE:','READER');
CREATE TABLE queue (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	model VARCHAR NOT NULL, 
	uid VARCHAR NOT NULL, 
	epoch INTEGER NOT NULL, 
	lease_until_ms BIGINT NOT NULL, 
	parent_uid VARCHAR NOT NULL, 
	examples BLOB NOT NULL, 
	UNIQUE (model), 
	FOREIGN KEY(model) REFERENCES model (name) ON DELETE CASCADE, 
	UNIQUE (uid)
);
INSERT INTO "queue" VALUES(3,'tunedModels/running','uidrunning',1,1700000064000,'',X'78018B8E563254D2515032528AD55188564A7CD4B02209C43FBC4729361600730B08CC');
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1);
CREATE TABLE snapshot (
	model VARCHAR NOT NULL, 
	step INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	mean_loss FLOAT NOT NULL, 
	compute_ms BIGINT NOT NULL, 
	PRIMARY KEY (model, step), 
	FOREIGN KEY(model) REFERENCES model (name) ON DELETE CASCADE
);
INSERT INTO "snapshot" VALUES('tunedModels/done',1,1,0.5,1700000001100);
INSERT INTO "snapshot" VALUES('tunedModels/done',2,2,0.25,1700000001200);
INSERT INTO "snapshot" VALUES('tunedModels/failed',1,1,0.5,1700000002100);
INSERT INTO "snapshot" VALUES('tunedModels/running',1,1,0.75,1700000003100);
CREATE INDEX ix_permission_grantee ON permission (grantee);
CREATE INDEX ix_permission_model ON permission (model);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('model',4);
INSERT INTO "sqlite_sequence" VALUES('permission',6);
INSERT INTO "sqlite_sequence" VALUES('operation',4);
INSERT INTO "sqlite_sequence" VALUES('queue',4);
COMMIT;
