PRAGMA application_id = 1297306706;
PRAGMA user_version = 1;
PRAGMA page_size = 4096;
PRAGMA auto_vacuum = 2;
BEGIN TRANSACTION;
CREATE TABLE doubts (
  "run" INTEGER NOT NULL,
  "step" TEXT NOT NULL,
  "partition" INTEGER NOT NULL,
  "agent" TEXT NOT NULL,
  "key" TEXT NOT NULL,
  "tool" TEXT NOT NULL,
  "effect" TEXT NOT NULL,
  "idempotency_key" TEXT NOT NULL,
  "attempts" INTEGER NOT NULL,
  "sent" INTEGER NOT NULL,
  "since" INTEGER NOT NULL,
  "settle_at" INTEGER,
  "codec" INTEGER NOT NULL,
  "args" TEXT,
  "error" TEXT,
  PRIMARY KEY ("run", "step")
) STRICT;
INSERT INTO "doubts" VALUES(4294967328,'text',19,'fulfil','dick','text','at_most_once','82b7f23e6bbd28c374c388ed43542169',1,1795645912636497,1795645912638761,NULL,0,'[["doubtful-1","doubtful"],{}]','{"data":null,"message":"the line broke","type":"ConnectionResetError"}');
CREATE TABLE events (
  "event" INTEGER PRIMARY KEY,
  "partition" INTEGER NOT NULL,
  "stream" TEXT NOT NULL,
  "key" TEXT NOT NULL,
  "id" TEXT NOT NULL,
  "time" INTEGER NOT NULL,
  "arrival" INTEGER NOT NULL,
  "cause" INTEGER,
  "source" TEXT,
  "position" TEXT,
  "codec" INTEGER NOT NULL,
  "payload" TEXT
) STRICT;
INSERT INTO "events" VALUES(4294967298,46,'dead_letters','orders','letter-4294967297',1795645912581856,1795645912581856,NULL,NULL,NULL,0,'{"at":"2026-11-25T22:31:52.581856Z","data":"{\"order\": \"broken price\", \"customer\": \"x\", \"kind\": \"plain\", \"price\": \"much\"}","error":"does not fit its declared type: Invalid decimal string - at `$.price`","position":22,"stream":"orders"}');
INSERT INTO "events" VALUES(4294967300,46,'dead_letters','orders','letter-4294967299',1795645912581856,1795645912581856,NULL,NULL,NULL,0,'{"at":"2026-11-25T22:31:52.581856Z","data":"{\"customer\": \"x\", \"kind\": \"plain\"}","error":"does not fit its declared type: Object missing required field `order`","position":23,"stream":"orders"}');
INSERT INTO "events" VALUES(4294967302,46,'dead_letters','orders','letter-4294967301',1795645912581856,1795645912581856,NULL,NULL,NULL,0,'{"at":"2026-11-25T22:31:52.581856Z","data":"{\"order\": \"torn-1\", \"cust","error":"malformed JSON: Input data was truncated","position":24,"stream":"orders"}');
INSERT INTO "events" VALUES(4294967303,33,'orders','c1','plain-1',1795645912581390,1795645912581856,NULL,'orders','1',0,'{"order": "plain-1", "customer": "c1", "kind": "plain", "price": "1.25"}');
INSERT INTO "events" VALUES(4294967305,27,'orders','c2','plain-2',1795645912581390,1795645912581856,NULL,'orders','2',0,'{"order": "plain-2", "customer": "c2", "kind": "plain", "price": "2.25"}');
INSERT INTO "events" VALUES(4294967307,55,'orders','c0','plain-3',1795645912581390,1795645912581856,NULL,'orders','3',0,'{"order": "plain-3", "customer": "c0", "kind": "plain", "price": "3.25"}');
INSERT INTO "events" VALUES(4294967309,33,'orders','c1','plain-4',1795645912581390,1795645912581856,NULL,'orders','4',0,'{"order": "plain-4", "customer": "c1", "kind": "plain", "price": "4.25"}');
INSERT INTO "events" VALUES(4294967311,27,'orders','c2','plain-5',1795645912581390,1795645912581856,NULL,'orders','5',0,'{"order": "plain-5", "customer": "c2", "kind": "plain", "price": "5.25"}');
INSERT INTO "events" VALUES(4294967313,55,'orders','c0','plain-6',1795645912581390,1795645912581856,NULL,'orders','6',0,'{"order": "plain-6", "customer": "c0", "kind": "plain", "price": "6.25"}');
INSERT INTO "events" VALUES(4294967315,33,'orders','c1','plain-7',1795645912581390,1795645912581856,NULL,'orders','7',0,'{"order": "plain-7", "customer": "c1", "kind": "plain", "price": "7.25"}');
INSERT INTO "events" VALUES(4294967317,27,'orders','c2','plain-8',1795645912581390,1795645912581856,NULL,'orders','8',0,'{"order": "plain-8", "customer": "c2", "kind": "plain", "price": "8.25"}');
INSERT INTO "events" VALUES(4294967319,55,'orders','c0','plain-9',1795645912581390,1795645912581856,NULL,'orders','9',0,'{"order": "plain-9", "customer": "c0", "kind": "plain", "price": "9.25"}');
INSERT INTO "events" VALUES(4294967321,47,'orders','dora','declined-1',1795645912581390,1795645912581856,NULL,'orders','11',0,'{"order": "declined-1", "customer": "dora", "kind": "declined"}');
INSERT INTO "events" VALUES(4294967323,14,'orders','bert','broken-1',1795645912581390,1795645912581856,NULL,'orders','12',0,'{"order": "broken-1", "customer": "bert", "kind": "broken"}');
INSERT INTO "events" VALUES(4294967325,14,'orders','bert','broken-2',1795645912581390,1795645912581856,NULL,'orders','13',0,'{"order": "broken-2", "customer": "bert", "kind": "broken"}');
INSERT INTO "events" VALUES(4294967327,19,'orders','dick','doubtful-1',1795645912581390,1795645912581856,NULL,'orders','14',0,'{"order": "doubtful-1", "customer": "dick", "kind": "doubtful"}');
INSERT INTO "events" VALUES(4294967329,19,'orders','dick','behind-a-doubt',1795645912581390,1795645912581856,NULL,'orders','15',0,'{"order": "behind-a-doubt", "customer": "dick", "kind": "plain"}');
INSERT INTO "events" VALUES(4294967331,35,'orders','wanda','waiting-1',1795645912581390,1795645912581856,NULL,'orders','16',0,'{"order": "waiting-1", "customer": "wanda", "kind": "waiting"}');
INSERT INTO "events" VALUES(4294967333,60,'orders','willy','waiting-2',1795645912581390,1795645912581856,NULL,'orders','17',0,'{"order": "waiting-2", "customer": "willy", "kind": "waiting"}');
INSERT INTO "events" VALUES(4294967335,35,'orders','wanda','behind-a-wait',1795645912581390,1795645912581856,NULL,'orders','18',0,'{"order": "behind-a-wait", "customer": "wanda", "kind": "plain"}');
INSERT INTO "events" VALUES(4294967337,22,'orders','cora','cancelled-1',1795645912581390,1795645912581856,NULL,'orders','19',0,'{"order": "cancelled-1", "customer": "cora", "kind": "cancelled"}');
INSERT INTO "events" VALUES(4294967339,55,'orders','anna','asking-1',1795645912581390,1795645912581856,NULL,'orders','20',0,'{"order": "asking-1", "customer": "anna", "kind": "asking"}');
INSERT INTO "events" VALUES(4294967341,28,'orders','ed','edited-1',1795645912581390,1795645912581856,NULL,'orders','21',0,'{"order": "edited-1", "customer": "ed", "kind": "edited"}');
INSERT INTO "events" VALUES(4294967344,55,'desk.inbox','anna','55-1-44/48',1795645912581390,1795645912582716,4294967340,NULL,NULL,0,'{"about":"asking-1"}');
INSERT INTO "events" VALUES(4294967370,47,'fulfil.output','dora','47-1-26/74',1795645912581390,1795645912597889,4294967322,NULL,NULL,0,'{"cents":150,"declined":"no money","order":"declined-1"}');
INSERT INTO "events" VALUES(4294967390,33,'alerts','c1','33-1-8/94',1795645912581390,1795645912624828,4294967304,NULL,NULL,0,'{"customer":"c1","order":"plain-1"}');
INSERT INTO "events" VALUES(4294967392,33,'fulfil.output','c1','33-1-8/96',1795645912581390,1795645912624828,4294967304,NULL,NULL,0,'{"order":"plain-1","said":null,"so_far":["plain-1"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967406,27,'alerts','c2','27-1-10/110',1795645912581390,1795645912632425,4294967306,NULL,NULL,0,'{"customer":"c2","order":"plain-2"}');
INSERT INTO "events" VALUES(4294967408,27,'fulfil.output','c2','27-1-10/112',1795645912581390,1795645912632425,4294967306,NULL,NULL,0,'{"order":"plain-2","said":null,"so_far":["plain-2"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967415,19,'doubts','dick','19-1-32/text/doubt',1795645912581390,1795645912638761,4294967328,NULL,NULL,0,'{"agent":"fulfil","args":["doubtful-1","doubtful"],"attempts":1,"effect":"at_most_once","error":{"data":null,"message":"the line broke","type":"ConnectionResetError"},"idempotency_key":"82b7f23e6bbd28c374c388ed43542169","key":"dick","kwargs":{},"run":"19-1-32","sent":"2026-11-25T22:31:52.636497Z","step":"19-1-32/text","tool":"text"}');
INSERT INTO "events" VALUES(4294967422,55,'alerts','c0','55-1-12/126',1795645912581390,1795645912643280,4294967308,NULL,NULL,0,'{"customer":"c0","order":"plain-3"}');
INSERT INTO "events" VALUES(4294967424,55,'fulfil.output','c0','55-1-12/128',1795645912581390,1795645912643280,4294967308,NULL,NULL,0,'{"order":"plain-3","said":null,"so_far":["plain-3"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967440,33,'alerts','c1','33-1-14/144',1795645912581390,1795645912657496,4294967310,NULL,NULL,0,'{"customer":"c1","order":"plain-4"}');
INSERT INTO "events" VALUES(4294967442,33,'fulfil.output','c1','33-1-14/146',1795645912581390,1795645912657496,4294967310,NULL,NULL,0,'{"order":"plain-4","said":null,"so_far":["plain-1","plain-4"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967453,27,'alerts','c2','27-1-16/157',1795645912581390,1795645912663993,4294967312,NULL,NULL,0,'{"customer":"c2","order":"plain-5"}');
INSERT INTO "events" VALUES(4294967455,27,'fulfil.output','c2','27-1-16/159',1795645912581390,1795645912663993,4294967312,NULL,NULL,0,'{"order":"plain-5","said":null,"so_far":["plain-2","plain-5"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967464,55,'alerts','c0','55-1-18/168',1795645912581390,1795645912668351,4294967314,NULL,NULL,0,'{"customer":"c0","order":"plain-6"}');
INSERT INTO "events" VALUES(4294967466,55,'fulfil.output','c0','55-1-18/170',1795645912581390,1795645912668351,4294967314,NULL,NULL,0,'{"order":"plain-6","said":null,"so_far":["plain-3","plain-6"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967485,33,'alerts','c1','33-1-20/189',1795645912581390,1795645912682564,4294967316,NULL,NULL,0,'{"customer":"c1","order":"plain-7"}');
INSERT INTO "events" VALUES(4294967487,33,'fulfil.output','c1','33-1-20/191',1795645912581390,1795645912682564,4294967316,NULL,NULL,0,'{"order":"plain-7","said":null,"so_far":["plain-1","plain-4","plain-7"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967493,27,'alerts','c2','27-1-22/197',1795645912581390,1795645912689389,4294967318,NULL,NULL,0,'{"customer":"c2","order":"plain-8"}');
INSERT INTO "events" VALUES(4294967495,27,'fulfil.output','c2','27-1-22/199',1795645912581390,1795645912689389,4294967318,NULL,NULL,0,'{"order":"plain-8","said":null,"so_far":["plain-2","plain-5","plain-8"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967501,55,'alerts','c0','55-1-24/205',1795645912581390,1795645912692673,4294967320,NULL,NULL,0,'{"customer":"c0","order":"plain-9"}');
INSERT INTO "events" VALUES(4294967503,55,'fulfil.output','c0','55-1-24/207',1795645912581390,1795645912692673,4294967320,NULL,NULL,0,'{"order":"plain-9","said":null,"so_far":["plain-3","plain-6","plain-9"],"text":"sent"}');
INSERT INTO "events" VALUES(30064771088,60,'alerts','willy','60-1-38/16',1795645912581390,1795645918847621,4294967334,NULL,NULL,0,'{"customer":"willy","order":"waiting-2"}');
INSERT INTO "events" VALUES(30064771090,60,'fulfil.output','willy','60-1-38/18',1795645912581390,1795645918847621,4294967334,NULL,NULL,0,'{"order":"waiting-2","said":[{"ok":true},"alice"],"so_far":["waiting-2"],"text":"sent"}');
INSERT INTO "events" VALUES(34359738369,63,'orders','sue','struck-1',1795645919765727,1795645919765962,NULL,'orders','25',0,'{"order": "struck-1", "customer": "sue", "kind": "struck"}');
CREATE TABLE letters (
  "letter" INTEGER PRIMARY KEY,
  "stream" TEXT NOT NULL,
  "source" TEXT,
  "position" TEXT,
  "at" INTEGER NOT NULL,
  "error" TEXT NOT NULL,
  "codec" INTEGER NOT NULL,
  "data" TEXT,
  "size" INTEGER NOT NULL
) STRICT;
INSERT INTO "letters" VALUES(4294967297,'orders','orders','22',1795645912581856,'does not fit its declared type: Invalid decimal string - at `$.price`',0,'{"order": "broken price", "customer": "x", "kind": "plain", "price": "much"}',76);
INSERT INTO "letters" VALUES(4294967299,'orders','orders','23',1795645912581856,'does not fit its declared type: Object missing required field `order`',0,'{"customer": "x", "kind": "plain"}',34);
INSERT INTO "letters" VALUES(4294967301,'orders','orders','24',1795645912581856,'malformed JSON: Input data was truncated',0,'{"order": "torn-1", "cust',25);
CREATE TABLE mail (
  "mail" INTEGER PRIMARY KEY,
  "partition" INTEGER NOT NULL,
  "agent" TEXT NOT NULL,
  "key" TEXT NOT NULL,
  "run" INTEGER,
  "kind" TEXT NOT NULL,
  "name" TEXT NOT NULL,
  "about" TEXT,
  "id" TEXT NOT NULL,
  "by" TEXT,
  "at" INTEGER NOT NULL,
  "codec" INTEGER NOT NULL,
  "payload" TEXT,
  "error" TEXT
) STRICT;
INSERT INTO "mail" VALUES(8589934593,11,'fulfil','nora',NULL,'signal','note',NULL,'n1','alice',1795645914062175,0,'"nobody waits for it yet"',NULL);
INSERT INTO "mail" VALUES(17179869185,28,'fulfil','ed',4294967342,'signal','go',NULL,'17179869185','alice',1795645915571479,0,'1',NULL);
CREATE TABLE meta (
  "name" TEXT NOT NULL,
  "value" TEXT NOT NULL,
  PRIMARY KEY ("name")
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('app','"history"');
INSERT INTO "meta" VALUES('clean','0');
INSERT INTO "meta" VALUES('created','1795645912549089');
INSERT INTO "meta" VALUES('epoch','8');
INSERT INTO "meta" VALUES('partitions','64');
INSERT INTO "meta" VALUES('schema','1');
INSERT INTO "meta" VALUES('store_id','"6142cfca045041299d268a6ce544dd74"');
INSERT INTO "meta" VALUES('time','1795645919766208');
CREATE TABLE outputs (
  "sink" TEXT NOT NULL,
  "row" INTEGER NOT NULL,
  "partition" INTEGER NOT NULL,
  "event" INTEGER,
  "source" TEXT,
  "first" TEXT,
  "last" TEXT,
  "lines" INTEGER NOT NULL,
  "codec" INTEGER NOT NULL,
  "payload" TEXT,
  PRIMARY KEY ("sink", "row")
) STRICT;
INSERT INTO "outputs" VALUES('dead_letters.sink',1,46,4294967298,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('dead_letters.sink',2,46,4294967300,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('dead_letters.sink',3,46,4294967302,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('large',1,27,NULL,'orders','5','9',5,0,'"plain-5"
"plain-6"
"plain-7"
"plain-8"
"plain-9"
');
INSERT INTO "outputs" VALUES('fulfil.output.sink',1,47,4294967370,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',2,33,4294967392,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',3,27,4294967408,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('doubts.sink',1,19,4294967415,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',4,55,4294967424,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',5,33,4294967442,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',6,27,4294967455,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',7,55,4294967466,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',8,33,4294967487,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',9,27,4294967495,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',10,55,4294967503,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',11,60,30064771090,NULL,NULL,NULL,1,0,NULL);
CREATE TABLE records (
  "record" INTEGER PRIMARY KEY,
  "partition" INTEGER NOT NULL,
  "run" INTEGER NOT NULL,
  "generation" INTEGER NOT NULL,
  "at" INTEGER NOT NULL,
  "kind" TEXT NOT NULL,
  "step" TEXT,
  "tool" TEXT,
  "effect" TEXT,
  "attempt" INTEGER NOT NULL,
  "key" TEXT,
  "note" TEXT,
  "codec" INTEGER NOT NULL,
  "args" TEXT,
  "result" TEXT,
  "error" TEXT
) STRICT;
INSERT INTO "records" VALUES(4294967343,55,4294967340,0,1795645912582716,'intended','ask.desk','desk',NULL,0,'anna',NULL,0,'{"about":"asking-1"}',NULL,NULL);
INSERT INTO "records" VALUES(4294967346,28,4294967342,0,1795645912582716,'intended','charge','charge','idempotent',1,'d8566e8c4f8fc09ebf502611da3711ed',NULL,0,'[["edited-1","1.50","edited"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967347,33,4294967304,0,1795645912586771,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-1"],{}]','{"order":"plain-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967348,33,4294967304,0,1795645912586771,'intended','charge','charge','idempotent',1,'59a7e0ea37683bc1c045e9d96f1b1304',NULL,0,'[["plain-1","1.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967349,27,4294967306,0,1795645912587166,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-2"],{}]','{"order":"plain-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967350,27,4294967306,0,1795645912587166,'intended','charge','charge','idempotent',1,'d866783736a9aadd4294730e7e9a3b68',NULL,0,'[["plain-2","2.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967351,55,4294967308,0,1795645912587350,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-3"],{}]','{"order":"plain-3","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967352,55,4294967308,0,1795645912587350,'intended','charge','charge','idempotent',1,'4dfbb99532a1247b3df6a105d6411d50',NULL,0,'[["plain-3","3.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967353,47,4294967322,0,1795645912587537,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["declined-1"],{}]','{"order":"declined-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967354,47,4294967322,0,1795645912587537,'intended','charge','charge','idempotent',1,'eb5722e76eec1e42c8d1879203e086a7',NULL,0,'[["declined-1","1.50","declined"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967355,14,4294967324,0,1795645912587702,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["broken-1"],{}]','{"order":"broken-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967356,14,4294967324,0,1795645912587702,'intended','charge','charge','idempotent',1,'4fa4a8af0dd0dba3f6501a4d0b677287',NULL,0,'[["broken-1","1.50","broken"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967357,19,4294967328,0,1795645912587863,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["doubtful-1"],{}]','{"order":"doubtful-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967358,19,4294967328,0,1795645912587863,'intended','charge','charge','idempotent',1,'2f5228f2c0f13ece8659c06afec63fcc',NULL,0,'[["doubtful-1","1.50","doubtful"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967359,28,4294967342,0,1795645912594705,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.50"',NULL);
INSERT INTO "records" VALUES(4294967360,33,4294967304,0,1795645912595445,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.25"',NULL);
INSERT INTO "records" VALUES(4294967361,33,4294967304,0,1795645912595445,'intended','book','book','transactional',1,'1da21c1acdf723cb4db96ac425e7a58e',NULL,0,'[["plain-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967362,33,4294967304,0,1795645912595445,'intended','ship','ship','verified',1,'368c28b676782d75c3eb3426d6522354',NULL,0,'[["plain-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967363,27,4294967306,0,1795645912596329,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"2.25"',NULL);
INSERT INTO "records" VALUES(4294967364,27,4294967306,0,1795645912596329,'intended','book','book','transactional',1,'b6b20e4b9999da9d8e9f7a041a86014c',NULL,0,'[["plain-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967365,27,4294967306,0,1795645912596329,'intended','ship','ship','verified',1,'4deebf83828cab82747f7607cab3c5bb',NULL,0,'[["plain-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967366,55,4294967308,0,1795645912596848,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"3.25"',NULL);
INSERT INTO "records" VALUES(4294967367,55,4294967308,0,1795645912596848,'intended','book','book','transactional',1,'45c2a8cb4ce7e632a8befd4be1eaf11c',NULL,0,'[["plain-3"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967368,55,4294967308,0,1795645912596848,'intended','ship','ship','verified',1,'2d94cd0e061a6dea849499f6fbb5ee85',NULL,0,'[["plain-3"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967369,47,4294967322,0,1795645912597889,'resulted','charge','charge','idempotent',1,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 62, in charge\n    raise Declined(\"no money\", 150)\napp.Declined: no money\n"}',0,NULL,NULL,'{"data":{"args":["no money"],"fields":{"cents":150,"reason":"no money"}},"message":"no money","type":"Declined"}');
INSERT INTO "records" VALUES(4294967371,14,4294967324,0,1795645912598796,'resulted','charge','charge','idempotent',1,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 64, in charge\n    raise ValueError(\"no such account\")\nValueError: no such account\n"}',0,NULL,NULL,'{"data":null,"message":"no such account","type":"ValueError"}');
INSERT INTO "records" VALUES(4294967372,19,4294967328,0,1795645912599616,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.50"',NULL);
INSERT INTO "records" VALUES(4294967373,19,4294967328,0,1795645912599616,'intended','book','book','transactional',1,'d4f9a3edd73fc1ef9d1ba4ed6906977d',NULL,0,'[["doubtful-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967374,19,4294967328,0,1795645912599616,'intended','ship','ship','verified',1,'17d4bc5d68ee2f43cc6395bbf6ecf483',NULL,0,'[["doubtful-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967375,14,4294967326,0,1795645912600427,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["broken-2"],{}]','{"order":"broken-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967376,14,4294967326,0,1795645912600427,'intended','charge','charge','idempotent',1,'df617cd9cc4d8a75a1362a9a99d4973e',NULL,0,'[["broken-2","1.50","broken"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967377,33,4294967304,0,1795645912605603,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-1"',NULL);
INSERT INTO "records" VALUES(4294967378,27,4294967306,0,1795645912605907,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-2"',NULL);
INSERT INTO "records" VALUES(4294967379,55,4294967308,0,1795645912606102,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-3"',NULL);
INSERT INTO "records" VALUES(4294967380,19,4294967328,0,1795645912606365,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"doubtful-1"',NULL);
INSERT INTO "records" VALUES(4294967381,14,4294967326,0,1795645912608775,'resulted','charge','charge','idempotent',1,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 64, in charge\n    raise ValueError(\"no such account\")\nValueError: no such account\n"}',0,NULL,NULL,'{"data":null,"message":"no such account","type":"ValueError"}');
INSERT INTO "records" VALUES(4294967382,33,4294967304,0,1795645912612442,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-1"',NULL);
INSERT INTO "records" VALUES(4294967383,27,4294967306,0,1795645912617052,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-2"',NULL);
INSERT INTO "records" VALUES(4294967384,19,4294967328,0,1795645912620549,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"doubtful-1"',NULL);
INSERT INTO "records" VALUES(4294967385,33,4294967304,0,1795645912622999,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967386,33,4294967304,0,1795645912622999,'intended','text','text','at_most_once',1,'ffe8b0cef2077ed8c74d8466d13ed551',NULL,0,'[["plain-1","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967387,55,4294967308,0,1795645912624343,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-3"',NULL);
INSERT INTO "records" VALUES(4294967388,33,4294967304,0,1795645912624828,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967389,33,4294967304,0,1795645912624828,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["plain-1"],"spent":"1.25"}',NULL);
INSERT INTO "records" VALUES(4294967393,33,4294967391,0,1795645912625409,'released',NULL,NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967394,33,4294967391,0,1795645912625409,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(4294967395,33,4294967310,0,1795645912626619,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-4"],{}]','{"order":"plain-4","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967396,33,4294967310,0,1795645912626619,'intended','charge','charge','idempotent',1,'024e8c3994c473f675e772b2c7c6bae4',NULL,0,'[["plain-4","4.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967397,27,4294967306,0,1795645912627907,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967398,27,4294967306,0,1795645912627907,'intended','text','text','at_most_once',1,'87f21725be1c99707f783b8a95c5f023',NULL,0,'[["plain-2","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967399,19,4294967328,0,1795645912630994,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967400,19,4294967328,0,1795645912630994,'intended','text','text','at_most_once',1,'82b7f23e6bbd28c374c388ed43542169',NULL,0,'[["doubtful-1","doubtful"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967401,33,4294967310,0,1795645912631985,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"4.25"',NULL);
INSERT INTO "records" VALUES(4294967402,33,4294967310,0,1795645912631985,'intended','book','book','transactional',1,'366ee45571a3128a9be3b66375b092e3',NULL,0,'[["plain-4"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967403,33,4294967310,0,1795645912631985,'intended','ship','ship','verified',1,'519e0cf994b7fe1a3469e0306b78404f',NULL,0,'[["plain-4"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967404,27,4294967306,0,1795645912632425,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967405,27,4294967306,0,1795645912632425,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["plain-2"],"spent":"2.25"}',NULL);
INSERT INTO "records" VALUES(4294967409,27,4294967407,0,1795645912633071,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(4294967410,27,4294967312,0,1795645912634192,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-5"],{}]','{"order":"plain-5","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967411,27,4294967312,0,1795645912634192,'intended','charge','charge','idempotent',1,'1fe4844cafc0e039906816c543238fb7',NULL,0,'[["plain-5","5.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967412,55,4294967308,0,1795645912634382,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967413,55,4294967308,0,1795645912634382,'intended','text','text','at_most_once',1,'a47f7783a3664e558028f2b251d92f37',NULL,0,'[["plain-3","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967414,19,4294967328,0,1795645912638761,'doubted','text','text','at_most_once',1,NULL,'{"ended":"ambiguous","settle":"hold","settle_at":null,"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 97, in text\n    raise ConnectionResetError(\"the line broke\")\nConnectionResetError: the line broke\n"}',0,NULL,NULL,'{"data":null,"message":"the line broke","type":"ConnectionResetError"}');
INSERT INTO "records" VALUES(4294967416,33,4294967310,0,1795645912639530,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-4"',NULL);
INSERT INTO "records" VALUES(4294967417,27,4294967312,0,1795645912642779,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"5.25"',NULL);
INSERT INTO "records" VALUES(4294967418,27,4294967312,0,1795645912642779,'intended','book','book','transactional',1,'4cf4bda2538a8db1bd2f3fec2d2102c3',NULL,0,'[["plain-5"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967419,27,4294967312,0,1795645912642779,'intended','ship','ship','verified',1,'4d0da07b229628827367f9ddbb78c868',NULL,0,'[["plain-5"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967420,55,4294967308,0,1795645912643280,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967421,55,4294967308,0,1795645912643280,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["plain-3"],"spent":"3.25"}',NULL);
INSERT INTO "records" VALUES(4294967425,55,4294967423,0,1795645912643762,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(4294967426,55,4294967314,0,1795645912644575,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-6"],{}]','{"order":"plain-6","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967427,55,4294967314,0,1795645912644575,'intended','charge','charge','idempotent',1,'6ac52f45255f29594ee12a2e9c958d97',NULL,0,'[["plain-6","6.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967428,33,4294967310,0,1795645912645659,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-4"',NULL);
INSERT INTO "records" VALUES(4294967429,27,4294967312,0,1795645912646852,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-5"',NULL);
INSERT INTO "records" VALUES(4294967430,55,4294967314,0,1795645912649510,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"6.25"',NULL);
INSERT INTO "records" VALUES(4294967431,55,4294967314,0,1795645912649510,'intended','book','book','transactional',1,'12ce7fcd05aa4f613c60d874d0807f5f',NULL,0,'[["plain-6"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967432,55,4294967314,0,1795645912649510,'intended','ship','ship','verified',1,'d2b48122239dd0018d2211f4b9a9cbae',NULL,0,'[["plain-6"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967433,27,4294967312,0,1795645912650533,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-5"',NULL);
INSERT INTO "records" VALUES(4294967434,55,4294967314,0,1795645912651205,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-6"',NULL);
INSERT INTO "records" VALUES(4294967435,55,4294967314,0,1795645912654201,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-6"',NULL);
INSERT INTO "records" VALUES(4294967436,33,4294967310,0,1795645912655691,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967437,33,4294967310,0,1795645912655691,'intended','text','text','at_most_once',1,'7281fd57ba88865e0009b046371c9796',NULL,0,'[["plain-4","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967438,33,4294967310,0,1795645912657496,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967439,33,4294967310,0,1795645912657496,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967304,"version":2}',0,NULL,'{"orders":["plain-1","plain-4"],"spent":"5.50"}',NULL);
INSERT INTO "records" VALUES(4294967443,33,4294967441,0,1795645912657496,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967391,"version":2}',0,NULL,'{"alerts":2}',NULL);
INSERT INTO "records" VALUES(4294967444,33,4294967316,0,1795645912658631,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-7"],{}]','{"order":"plain-7","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967445,33,4294967316,0,1795645912658631,'intended','charge','charge','idempotent',1,'717ccf5e3890b55c10dfa6a824e92d33',NULL,0,'[["plain-7","7.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967446,27,4294967312,0,1795645912660544,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967447,27,4294967312,0,1795645912660544,'intended','text','text','at_most_once',1,'f8e0efa19f2462baf2ca64ef325d8d86',NULL,0,'[["plain-5","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967448,33,4294967316,0,1795645912662382,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"7.25"',NULL);
INSERT INTO "records" VALUES(4294967449,33,4294967316,0,1795645912662382,'intended','book','book','transactional',1,'7fa7a181cc400e28af5fa6caf7637ba7',NULL,0,'[["plain-7"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967450,33,4294967316,0,1795645912662382,'intended','ship','ship','verified',1,'4e574b084a4a75bddd9883f65ed2945d',NULL,0,'[["plain-7"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967451,27,4294967312,0,1795645912663993,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967452,27,4294967312,0,1795645912663993,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967306,"version":2}',0,NULL,'{"orders":["plain-2","plain-5"],"spent":"7.50"}',NULL);
INSERT INTO "records" VALUES(4294967456,27,4294967454,0,1795645912663993,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967407,"version":2}',0,NULL,'{"alerts":2}',NULL);
INSERT INTO "records" VALUES(4294967457,33,4294967316,0,1795645912664922,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-7"',NULL);
INSERT INTO "records" VALUES(4294967458,55,4294967314,0,1795645912665074,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967459,55,4294967314,0,1795645912665074,'intended','text','text','at_most_once',1,'b967a5a57f968bbf39ac2c32a4639cc7',NULL,0,'[["plain-6","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967460,27,4294967318,0,1795645912665541,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-8"],{}]','{"order":"plain-8","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967461,27,4294967318,0,1795645912665541,'intended','charge','charge','idempotent',1,'1585ecba410a6ce4aba7cba6fd244ff5',NULL,0,'[["plain-8","8.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967462,55,4294967314,0,1795645912668351,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967463,55,4294967314,0,1795645912668351,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967308,"version":2}',0,NULL,'{"orders":["plain-3","plain-6"],"spent":"9.50"}',NULL);
INSERT INTO "records" VALUES(4294967467,55,4294967465,0,1795645912668351,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967423,"version":2}',0,NULL,'{"alerts":2}',NULL);
INSERT INTO "records" VALUES(4294967468,27,4294967318,0,1795645912669581,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"8.25"',NULL);
INSERT INTO "records" VALUES(4294967469,27,4294967318,0,1795645912669581,'intended','book','book','transactional',1,'40d0f2cb662bf726fa5a5c9aa7f14197',NULL,0,'[["plain-8"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967470,27,4294967318,0,1795645912669581,'intended','ship','ship','verified',1,'379deacb49ea07ee4f94f7dee1bb0a9d',NULL,0,'[["plain-8"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967471,55,4294967320,0,1795645912670317,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-9"],{}]','{"order":"plain-9","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967472,55,4294967320,0,1795645912670317,'intended','charge','charge','idempotent',1,'bf0c8dc0bb1e4a2b4c2c9382ebd127d9',NULL,0,'[["plain-9","9.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967473,33,4294967316,0,1795645912670518,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-7"',NULL);
INSERT INTO "records" VALUES(4294967474,27,4294967318,0,1795645912672628,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-8"',NULL);
INSERT INTO "records" VALUES(4294967475,55,4294967320,0,1795645912674461,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"9.25"',NULL);
INSERT INTO "records" VALUES(4294967476,55,4294967320,0,1795645912674461,'intended','book','book','transactional',1,'58a7d11faef00ce4abcad0183351c6b8',NULL,0,'[["plain-9"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967477,55,4294967320,0,1795645912674461,'intended','ship','ship','verified',1,'ed68ff2d99ae42b8ba67230e1346b9ec',NULL,0,'[["plain-9"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967478,55,4294967320,0,1795645912676663,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-9"',NULL);
INSERT INTO "records" VALUES(4294967479,27,4294967318,0,1795645912677256,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-8"',NULL);
INSERT INTO "records" VALUES(4294967480,33,4294967316,0,1795645912680585,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967481,33,4294967316,0,1795645912680585,'intended','text','text','at_most_once',1,'4bbd85afa0811602bbcd08acb1ae15e6',NULL,0,'[["plain-7","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967482,55,4294967320,0,1795645912681313,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-9"',NULL);
INSERT INTO "records" VALUES(4294967483,33,4294967316,0,1795645912682564,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967484,33,4294967316,0,1795645912682564,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967310,"version":3}',0,NULL,'{"orders":["plain-1","plain-4","plain-7"],"spent":"12.75"}',NULL);
INSERT INTO "records" VALUES(4294967488,33,4294967486,0,1795645912682564,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967441,"version":3}',0,NULL,'{"alerts":3}',NULL);
INSERT INTO "records" VALUES(4294967489,27,4294967318,0,1795645912687259,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967490,27,4294967318,0,1795645912687259,'intended','text','text','at_most_once',1,'300f72b716d0a216d86d19e11006e929',NULL,0,'[["plain-8","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967491,27,4294967318,0,1795645912689389,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967492,27,4294967318,0,1795645912689389,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967312,"version":3}',0,NULL,'{"orders":["plain-2","plain-5","plain-8"],"spent":"15.75"}',NULL);
INSERT INTO "records" VALUES(4294967496,27,4294967494,0,1795645912689389,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967454,"version":3}',0,NULL,'{"alerts":3}',NULL);
INSERT INTO "records" VALUES(4294967497,55,4294967320,0,1795645912691384,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967498,55,4294967320,0,1795645912691384,'intended','text','text','at_most_once',1,'f34a601a06c4a5b843969167b9e31f85',NULL,0,'[["plain-9","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967499,55,4294967320,0,1795645912692673,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967500,55,4294967320,0,1795645912692673,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967314,"version":3}',0,NULL,'{"orders":["plain-3","plain-6","plain-9"],"spent":"18.75"}',NULL);
INSERT INTO "records" VALUES(4294967504,55,4294967502,0,1795645912692673,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967465,"version":3}',0,NULL,'{"alerts":3}',NULL);
INSERT INTO "records" VALUES(21474836481,22,4294967338,0,1795645916566248,'cancelled',NULL,NULL,NULL,0,NULL,'{"by":"bob"}',0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(25769803777,14,4294967326,1,1795645917605271,'retried',NULL,NULL,NULL,0,NULL,'{"began":1795645912598796,"by":"bob"}',0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(30064771073,14,4294967326,1,1795645918733306,'resulted','look_up','look_up','read',1,NULL,'{"first":1795645912600427}',0,'[["broken-2"],{}]','{"order":"broken-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(30064771074,14,4294967326,1,1795645918733306,'intended','charge','charge','idempotent',2,'df617cd9cc4d8a75a1362a9a99d4973e',NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(30064771075,14,4294967326,1,1795645918785467,'resulted','charge','charge','idempotent',2,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 64, in charge\n    raise ValueError(\"no such account\")\nValueError: no such account\n"}',0,NULL,NULL,'{"data":null,"message":"no such account","type":"ValueError"}');
INSERT INTO "records" VALUES(30064771076,60,4294967334,0,1795645918795384,'received','signal.approval','approval',NULL,0,NULL,'{"about":"waiting-2","by":"alice","id":"12884901889","sent":1795645914830591}',0,NULL,'{"ok":true}',NULL);
INSERT INTO "records" VALUES(30064771077,60,4294967334,0,1795645918796539,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["waiting-2"],{}]','{"order":"waiting-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(30064771078,60,4294967334,0,1795645918796539,'intended','charge','charge','idempotent',1,'a704e870c188d2ff3888ce9a3d074dea',NULL,0,'[["waiting-2","1.50","waiting"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771079,60,4294967334,0,1795645918807715,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.50"',NULL);
INSERT INTO "records" VALUES(30064771080,60,4294967334,0,1795645918807715,'intended','book','book','transactional',1,'25c596537979c21ef6e0c24ccd53de7d',NULL,0,'[["waiting-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771081,60,4294967334,0,1795645918807715,'intended','ship','ship','verified',1,'08dfba9948032535c47dd576c235c073',NULL,0,'[["waiting-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771082,60,4294967334,0,1795645918815618,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"waiting-2"',NULL);
INSERT INTO "records" VALUES(30064771083,60,4294967334,0,1795645918827551,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"waiting-2"',NULL);
INSERT INTO "records" VALUES(30064771084,60,4294967334,0,1795645918837563,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(30064771085,60,4294967334,0,1795645918837563,'intended','text','text','at_most_once',1,'b5f606442792215841c363e77bca0864',NULL,0,'[["waiting-2","waiting"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771086,60,4294967334,0,1795645918847621,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(30064771087,60,4294967334,0,1795645918847621,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["waiting-2"],"spent":"1.50"}',NULL);
INSERT INTO "records" VALUES(30064771091,60,30064771089,0,1795645918848708,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(34359738371,63,34359738370,0,1795645919766208,'intended','charge','charge','idempotent',1,'18ca4ba7481698109557020f54de27fa',NULL,0,'[["struck-1","1.50","struck"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(34359738372,63,34359738370,0,1795645919766208,'intended','strike','strike','at_most_once',1,'d8bb312e3f5531e9f3635d870469391b',NULL,0,'[["struck-1"],{}]',NULL,NULL);
CREATE TABLE runs (
  "run" INTEGER PRIMARY KEY,
  "partition" INTEGER NOT NULL,
  "agent" TEXT NOT NULL,
  "key" TEXT NOT NULL,
  "event" INTEGER NOT NULL,
  "turn" INTEGER,
  "status" TEXT NOT NULL,
  "generation" INTEGER NOT NULL,
  "created" INTEGER NOT NULL,
  "started" INTEGER,
  "finished" INTEGER,
  "wake" INTEGER,
  "awaits" TEXT,
  "asker" TEXT,
  "fingerprint" TEXT NOT NULL,
  "resumes" INTEGER NOT NULL,
  "error" TEXT,
  "id" TEXT GENERATED ALWAYS AS (partition || '-' || (run >> 32) || '-' || (run & 4294967295)) VIRTUAL
) STRICT;
INSERT INTO "runs" VALUES(4294967304,33,'fulfil','c1',4294967303,NULL,'done',0,1795645912581856,1795645912582716,1795645912624828,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967306,27,'fulfil','c2',4294967305,NULL,'done',0,1795645912581856,1795645912582716,1795645912632425,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967308,55,'fulfil','c0',4294967307,NULL,'done',0,1795645912581856,1795645912582716,1795645912643280,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967310,33,'fulfil','c1',4294967309,NULL,'done',0,1795645912581856,1795645912624828,1795645912657496,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967312,27,'fulfil','c2',4294967311,NULL,'done',0,1795645912581856,1795645912632425,1795645912663993,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967314,55,'fulfil','c0',4294967313,NULL,'done',0,1795645912581856,1795645912643280,1795645912668351,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967316,33,'fulfil','c1',4294967315,NULL,'done',0,1795645912581856,1795645912657496,1795645912682564,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967318,27,'fulfil','c2',4294967317,NULL,'done',0,1795645912581856,1795645912663993,1795645912689389,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967320,55,'fulfil','c0',4294967319,NULL,'done',0,1795645912581856,1795645912668351,1795645912692673,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967322,47,'fulfil','dora',4294967321,NULL,'done',0,1795645912581856,1795645912582716,1795645912597889,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967324,14,'fulfil','bert',4294967323,NULL,'failed',0,1795645912581856,1795645912582716,1795645912598796,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"no such account","tool":"charge","type":"ValueError"}');
INSERT INTO "runs" VALUES(4294967326,14,'fulfil','bert',4294967325,NULL,'failed',1,1795645912581856,1795645918733306,1795645918785467,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"no such account","tool":"charge","type":"ValueError"}');
INSERT INTO "runs" VALUES(4294967328,19,'fulfil','dick',4294967327,4294967328,'in_doubt',0,1795645912581856,1795645912582716,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967330,19,'fulfil','dick',4294967329,4294967330,'queued',0,1795645912581856,NULL,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967332,35,'fulfil','wanda',4294967331,4294967332,'waiting',0,1795645912581856,1795645912582716,NULL,NULL,'[["signal.approval","receive","approval","waiting-1"]]',NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967334,60,'fulfil','willy',4294967333,NULL,'done',0,1795645912581856,1795645912582716,1795645918847621,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967336,35,'fulfil','wanda',4294967335,4294967336,'queued',0,1795645912581856,NULL,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967338,22,'fulfil','cora',4294967337,NULL,'cancelled',0,1795645912581856,1795645912582716,1795645918733306,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"the run was cancelled","type":"Cancelled"}');
INSERT INTO "runs" VALUES(4294967340,55,'fulfil','anna',4294967339,4294967340,'waiting',0,1795645912581856,1795645912582716,NULL,NULL,'[["ask.desk","ask","desk","anna"]]',NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967342,28,'fulfil','ed',4294967341,NULL,'diverged',0,1795645912581856,1795645912582716,1795645918779767,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"step 28-1-46/charge is recorded with the arguments [[\"edited-1\",\"1.50\",\"edited\"],{}]\nand the handler now asks for it with           [[\"edited\",\"1.50\",\"edited\"],{}]. The run is kept and tried again when the agent''s code changes. Known causes: steps named by position in a changed loop, a branch on something that is not recorded (wall clock, environment, global), coroutines given to asyncio.as_completed (they start in set order: use ctx.as_completed)","type":"Diverged"}');
INSERT INTO "runs" VALUES(4294967345,55,'desk','anna',4294967344,4294967345,'waiting',0,1795645912582716,1795645912585816,NULL,NULL,'[["signal.answer","receive","answer","asking-1"]]','[4294967340,"ask.desk","fulfil","anna"]','4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967391,33,'watch','c1',4294967390,NULL,'waiting',0,1795645912624828,1795645912625409,NULL,NULL,'[["signal.seen","receive","seen",null]]',NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967407,27,'watch','c2',4294967406,NULL,'done',0,1795645912632425,1795645912633071,1795645912633071,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967423,55,'watch','c0',4294967422,NULL,'done',0,1795645912643280,1795645912643762,1795645912643762,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967441,33,'watch','c1',4294967440,NULL,'done',0,1795645912657496,1795645912657496,1795645912657496,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967454,27,'watch','c2',4294967453,NULL,'done',0,1795645912663993,1795645912663993,1795645912663993,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967465,55,'watch','c0',4294967464,NULL,'done',0,1795645912668351,1795645912668351,1795645912668351,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967486,33,'watch','c1',4294967485,NULL,'done',0,1795645912682564,1795645912682564,1795645912682564,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967494,27,'watch','c2',4294967493,NULL,'done',0,1795645912689389,1795645912689389,1795645912689389,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967502,55,'watch','c0',4294967501,NULL,'done',0,1795645912692673,1795645912692673,1795645912692673,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(30064771089,60,'watch','willy',30064771088,NULL,'done',0,1795645918847621,1795645918848708,1795645918848708,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(34359738370,63,'fulfil','sue',34359738369,34359738370,'running',0,1795645919765962,1795645919766208,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
CREATE TABLE seen (
  "source" TEXT NOT NULL,
  "id" TEXT NOT NULL,
  "partition" INTEGER NOT NULL,
  "at" INTEGER NOT NULL,
  PRIMARY KEY ("source", "id")
) STRICT, WITHOUT ROWID;
INSERT INTO "seen" VALUES('orders','asking-1',55,1795645912581856);
INSERT INTO "seen" VALUES('orders','behind-a-doubt',19,1795645912581856);
INSERT INTO "seen" VALUES('orders','behind-a-wait',35,1795645912581856);
INSERT INTO "seen" VALUES('orders','broken-1',14,1795645912581856);
INSERT INTO "seen" VALUES('orders','broken-2',14,1795645912581856);
INSERT INTO "seen" VALUES('orders','cancelled-1',22,1795645912581856);
INSERT INTO "seen" VALUES('orders','declined-1',47,1795645912581856);
INSERT INTO "seen" VALUES('orders','doubtful-1',19,1795645912581856);
INSERT INTO "seen" VALUES('orders','edited-1',28,1795645912581856);
INSERT INTO "seen" VALUES('orders','plain-1',33,1795645912581856);
INSERT INTO "seen" VALUES('orders','plain-2',27,1795645912581856);
INSERT INTO "seen" VALUES('orders','plain-3',55,1795645912581856);
INSERT INTO "seen" VALUES('orders','plain-4',33,1795645912581856);
INSERT INTO "seen" VALUES('orders','plain-5',27,1795645912581856);
INSERT INTO "seen" VALUES('orders','plain-6',55,1795645912581856);
INSERT INTO "seen" VALUES('orders','plain-7',33,1795645912581856);
INSERT INTO "seen" VALUES('orders','plain-8',27,1795645912581856);
INSERT INTO "seen" VALUES('orders','plain-9',55,1795645912581856);
INSERT INTO "seen" VALUES('orders','struck-1',63,1795645919765962);
INSERT INTO "seen" VALUES('orders','waiting-1',35,1795645912581856);
INSERT INTO "seen" VALUES('orders','waiting-2',60,1795645912581856);
INSERT INTO "seen" VALUES('signals','["fulfil","nora","n1"]',11,1795645914062175);
CREATE TABLE sinks (
  "sink" TEXT NOT NULL,
  "row" INTEGER NOT NULL,
  "position" TEXT,
  PRIMARY KEY ("sink")
) STRICT, WITHOUT ROWID;
INSERT INTO "sinks" VALUES('dead_letters.sink',3,'{"inode":2351178,"offset":612,"path":"/history/letters.jsonl"}');
INSERT INTO "sinks" VALUES('doubts.sink',1,'{"inode":2351177,"offset":335,"path":"/history/doubts.jsonl"}');
INSERT INTO "sinks" VALUES('fulfil.output.sink',11,'{"inode":2351176,"offset":838,"path":"/history/receipts.jsonl"}');
INSERT INTO "sinks" VALUES('large',1,'{"inode":2351179,"offset":50,"path":"/history/large.jsonl"}');
CREATE TABLE sources (
  "source" TEXT NOT NULL,
  "position" TEXT,
  "events" INTEGER NOT NULL,
  "duplicates" INTEGER NOT NULL,
  "rejected" INTEGER NOT NULL,
  "ended" INTEGER NOT NULL,
  PRIMARY KEY ("source")
) STRICT, WITHOUT ROWID;
INSERT INTO "sources" VALUES('orders','{"head":"c84e539e8f5e148f","inode":2351175,"line":25,"mtime":1795645918948087532,"offset":1598}',21,1,3,0);
CREATE TABLE states (
  "agent" TEXT NOT NULL,
  "key" TEXT NOT NULL,
  "partition" INTEGER NOT NULL,
  "version" INTEGER NOT NULL,
  "run" INTEGER NOT NULL,
  "codec" INTEGER NOT NULL,
  "payload" TEXT,
  PRIMARY KEY ("agent", "key")
) STRICT;
INSERT INTO "states" VALUES('fulfil','c1',33,3,4294967316,0,'{"orders":["plain-1","plain-4","plain-7"],"spent":"12.75"}');
INSERT INTO "states" VALUES('watch','c1',33,3,4294967486,0,'{"alerts":3}');
INSERT INTO "states" VALUES('fulfil','c2',27,3,4294967318,0,'{"orders":["plain-2","plain-5","plain-8"],"spent":"15.75"}');
INSERT INTO "states" VALUES('watch','c2',27,3,4294967494,0,'{"alerts":3}');
INSERT INTO "states" VALUES('fulfil','c0',55,3,4294967320,0,'{"orders":["plain-3","plain-6","plain-9"],"spent":"18.75"}');
INSERT INTO "states" VALUES('watch','c0',55,3,4294967502,0,'{"alerts":3}');
INSERT INTO "states" VALUES('fulfil','willy',60,1,4294967334,0,'{"orders":["waiting-2"],"spent":"1.50"}');
INSERT INTO "states" VALUES('watch','willy',60,1,30064771089,0,'{"alerts":1}');
CREATE INDEX runs_line ON runs(agent, key, turn) WHERE turn IS NOT NULL;
CREATE INDEX runs_turn ON runs(turn) WHERE turn IS NOT NULL;
CREATE INDEX runs_wake ON runs(wake) WHERE wake IS NOT NULL;
CREATE INDEX runs_open ON runs(status, agent, key) WHERE status NOT IN ('done', 'cancelled');
CREATE INDEX records_run ON records(run);
CREATE INDEX mail_key ON mail(agent, key);
CREATE INDEX events_cause ON events(cause) WHERE cause IS NOT NULL;
CREATE INDEX seen_at ON seen(source, at);
CREATE VIEW runs_view AS SELECT id, agent, "key", status, generation, strftime('%Y-%m-%dT%H:%M:%fZ', created / 1e6, 'unixepoch') AS "created", strftime('%Y-%m-%dT%H:%M:%fZ', started / 1e6, 'unixepoch') AS "started", strftime('%Y-%m-%dT%H:%M:%fZ', finished / 1e6, 'unixepoch') AS "finished", strftime('%Y-%m-%dT%H:%M:%fZ', wake / 1e6, 'unixepoch') AS "wake", awaits, error FROM runs;
CREATE VIEW records_view AS SELECT runs.id, records.record, strftime('%Y-%m-%dT%H:%M:%fZ', records.at / 1e6, 'unixepoch') AS "at", records.kind, records.step, records.tool, records.effect, records.attempt, records."key" AS idempotency_key, records.args, records.result, records.error, records.note FROM records JOIN runs ON runs.run = records.run;
COMMIT;
