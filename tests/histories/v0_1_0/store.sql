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
INSERT INTO "doubts" VALUES(4294967328,'text',19,'fulfil','dick','text','at_most_once','1529be997b6854d4826a9566e6f8a48b',1,1795682912677186,1795682912677797,NULL,0,'[["doubtful-1","doubtful"],{}]','{"data":null,"message":"the line broke","type":"ConnectionResetError"}');
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
INSERT INTO "events" VALUES(4294967298,46,'dead_letters','orders','letter-4294967297~dead_letters',1795682912616456,1795682912616456,NULL,NULL,NULL,0,'{"at":"2026-11-26T08:48:32.616456Z","data":"{\"order\": \"broken price\", \"customer\": \"x\", \"kind\": \"plain\", \"price\": \"much\"}","error":"does not fit its declared type: Invalid decimal string - at `$.price`","position":22,"stream":"orders"}');
INSERT INTO "events" VALUES(4294967300,46,'dead_letters','orders','letter-4294967299~dead_letters',1795682912616456,1795682912616456,NULL,NULL,NULL,0,'{"at":"2026-11-26T08:48:32.616456Z","data":"{\"customer\": \"x\", \"kind\": \"plain\"}","error":"does not fit its declared type: Object missing required field `order`","position":23,"stream":"orders"}');
INSERT INTO "events" VALUES(4294967302,46,'dead_letters','orders','letter-4294967301~dead_letters',1795682912616456,1795682912616456,NULL,NULL,NULL,0,'{"at":"2026-11-26T08:48:32.616456Z","data":"{\"order\": \"torn-1\", \"cust","error":"malformed JSON: Input data was truncated","position":24,"stream":"orders"}');
INSERT INTO "events" VALUES(4294967303,33,'orders','c1','plain-1',1795682912616185,1795682912616456,NULL,'orders','1',0,'{"order": "plain-1", "customer": "c1", "kind": "plain", "price": "1.25"}');
INSERT INTO "events" VALUES(4294967305,27,'orders','c2','plain-2',1795682912616185,1795682912616456,NULL,'orders','2',0,'{"order": "plain-2", "customer": "c2", "kind": "plain", "price": "2.25"}');
INSERT INTO "events" VALUES(4294967307,55,'orders','c0','plain-3',1795682912616185,1795682912616456,NULL,'orders','3',0,'{"order": "plain-3", "customer": "c0", "kind": "plain", "price": "3.25"}');
INSERT INTO "events" VALUES(4294967309,33,'orders','c1','plain-4',1795682912616185,1795682912616456,NULL,'orders','4',0,'{"order": "plain-4", "customer": "c1", "kind": "plain", "price": "4.25"}');
INSERT INTO "events" VALUES(4294967311,27,'orders','c2','plain-5',1795682912616185,1795682912616456,NULL,'orders','5',0,'{"order": "plain-5", "customer": "c2", "kind": "plain", "price": "5.25"}');
INSERT INTO "events" VALUES(4294967313,55,'orders','c0','plain-6',1795682912616185,1795682912616456,NULL,'orders','6',0,'{"order": "plain-6", "customer": "c0", "kind": "plain", "price": "6.25"}');
INSERT INTO "events" VALUES(4294967315,33,'orders','c1','plain-7',1795682912616185,1795682912616456,NULL,'orders','7',0,'{"order": "plain-7", "customer": "c1", "kind": "plain", "price": "7.25"}');
INSERT INTO "events" VALUES(4294967317,27,'orders','c2','plain-8',1795682912616185,1795682912616456,NULL,'orders','8',0,'{"order": "plain-8", "customer": "c2", "kind": "plain", "price": "8.25"}');
INSERT INTO "events" VALUES(4294967319,55,'orders','c0','plain-9',1795682912616185,1795682912616456,NULL,'orders','9',0,'{"order": "plain-9", "customer": "c0", "kind": "plain", "price": "9.25"}');
INSERT INTO "events" VALUES(4294967321,47,'orders','dora','declined-1',1795682912616185,1795682912616456,NULL,'orders','11',0,'{"order": "declined-1", "customer": "dora", "kind": "declined"}');
INSERT INTO "events" VALUES(4294967323,14,'orders','bert','broken-1',1795682912616185,1795682912616456,NULL,'orders','12',0,'{"order": "broken-1", "customer": "bert", "kind": "broken"}');
INSERT INTO "events" VALUES(4294967325,14,'orders','bert','broken-2',1795682912616185,1795682912616456,NULL,'orders','13',0,'{"order": "broken-2", "customer": "bert", "kind": "broken"}');
INSERT INTO "events" VALUES(4294967327,19,'orders','dick','doubtful-1',1795682912616185,1795682912616456,NULL,'orders','14',0,'{"order": "doubtful-1", "customer": "dick", "kind": "doubtful"}');
INSERT INTO "events" VALUES(4294967329,19,'orders','dick','behind-a-doubt',1795682912616185,1795682912616456,NULL,'orders','15',0,'{"order": "behind-a-doubt", "customer": "dick", "kind": "plain"}');
INSERT INTO "events" VALUES(4294967331,35,'orders','wanda','waiting-1',1795682912616185,1795682912616456,NULL,'orders','16',0,'{"order": "waiting-1", "customer": "wanda", "kind": "waiting"}');
INSERT INTO "events" VALUES(4294967333,60,'orders','willy','waiting-2',1795682912616185,1795682912616456,NULL,'orders','17',0,'{"order": "waiting-2", "customer": "willy", "kind": "waiting"}');
INSERT INTO "events" VALUES(4294967335,35,'orders','wanda','behind-a-wait',1795682912616185,1795682912616456,NULL,'orders','18',0,'{"order": "behind-a-wait", "customer": "wanda", "kind": "plain"}');
INSERT INTO "events" VALUES(4294967337,22,'orders','cora','cancelled-1',1795682912616185,1795682912616456,NULL,'orders','19',0,'{"order": "cancelled-1", "customer": "cora", "kind": "cancelled"}');
INSERT INTO "events" VALUES(4294967339,55,'orders','anna','asking-1',1795682912616185,1795682912616456,NULL,'orders','20',0,'{"order": "asking-1", "customer": "anna", "kind": "asking"}');
INSERT INTO "events" VALUES(4294967341,28,'orders','ed','edited-1',1795682912616185,1795682912616456,NULL,'orders','21',0,'{"order": "edited-1", "customer": "ed", "kind": "edited"}');
INSERT INTO "events" VALUES(4294967344,55,'desk.inbox','anna','55-1-44/48',1795682912616185,1795682912617030,4294967340,NULL,NULL,0,'{"about":"asking-1"}');
INSERT INTO "events" VALUES(4294967370,47,'fulfil.output','dora','47-1-26/74',1795682912616185,1795682912629784,4294967322,NULL,NULL,0,'{"cents":150,"declined":"no money","order":"declined-1"}');
INSERT INTO "events" VALUES(4294967391,27,'alerts','c2','27-1-10/95',1795682912616185,1795682912670248,4294967306,NULL,NULL,0,'{"customer":"c2","order":"plain-2"}');
INSERT INTO "events" VALUES(4294967393,27,'fulfil.output','c2','27-1-10/97',1795682912616185,1795682912670248,4294967306,NULL,NULL,0,'{"order":"plain-2","said":null,"so_far":["plain-2"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967398,19,'doubts','dick','19-1-32/text/doubt~doubts',1795682912616185,1795682912677797,4294967328,NULL,NULL,0,'{"agent":"fulfil","args":["doubtful-1","doubtful"],"attempts":1,"effect":"at_most_once","error":{"data":null,"message":"the line broke","type":"ConnectionResetError"},"idempotency_key":"1529be997b6854d4826a9566e6f8a48b","key":"dick","kwargs":{},"run":"19-1-32","sent":"2026-11-26T08:48:32.677186Z","step":"19-1-32/text","tool":"text"}');
INSERT INTO "events" VALUES(4294967407,55,'alerts','c0','55-1-12/111',1795682912616185,1795682912688824,4294967308,NULL,NULL,0,'{"customer":"c0","order":"plain-3"}');
INSERT INTO "events" VALUES(4294967409,55,'fulfil.output','c0','55-1-12/113',1795682912616185,1795682912688824,4294967308,NULL,NULL,0,'{"order":"plain-3","said":null,"so_far":["plain-3"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967421,33,'alerts','c1','33-1-8/125',1795682912616185,1795682912700818,4294967304,NULL,NULL,0,'{"customer":"c1","order":"plain-1"}');
INSERT INTO "events" VALUES(4294967423,33,'fulfil.output','c1','33-1-8/127',1795682912616185,1795682912700818,4294967304,NULL,NULL,0,'{"order":"plain-1","said":null,"so_far":["plain-1"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967439,27,'alerts','c2','27-1-16/143',1795682912616185,1795682912714520,4294967312,NULL,NULL,0,'{"customer":"c2","order":"plain-5"}');
INSERT INTO "events" VALUES(4294967441,27,'fulfil.output','c2','27-1-16/145',1795682912616185,1795682912714520,4294967312,NULL,NULL,0,'{"order":"plain-5","said":null,"so_far":["plain-2","plain-5"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967453,55,'alerts','c0','55-1-18/157',1795682912616185,1795682912727955,4294967314,NULL,NULL,0,'{"customer":"c0","order":"plain-6"}');
INSERT INTO "events" VALUES(4294967455,55,'fulfil.output','c0','55-1-18/159',1795682912616185,1795682912727955,4294967314,NULL,NULL,0,'{"order":"plain-6","said":null,"so_far":["plain-3","plain-6"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967465,33,'alerts','c1','33-1-14/169',1795682912616185,1795682912736518,4294967310,NULL,NULL,0,'{"customer":"c1","order":"plain-4"}');
INSERT INTO "events" VALUES(4294967467,33,'fulfil.output','c1','33-1-14/171',1795682912616185,1795682912736518,4294967310,NULL,NULL,0,'{"order":"plain-4","said":null,"so_far":["plain-1","plain-4"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967483,27,'alerts','c2','27-1-22/187',1795682912616185,1795682912751998,4294967318,NULL,NULL,0,'{"customer":"c2","order":"plain-8"}');
INSERT INTO "events" VALUES(4294967485,27,'fulfil.output','c2','27-1-22/189',1795682912616185,1795682912751998,4294967318,NULL,NULL,0,'{"order":"plain-8","said":null,"so_far":["plain-2","plain-5","plain-8"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967492,55,'alerts','c0','55-1-24/196',1795682912616185,1795682912761541,4294967320,NULL,NULL,0,'{"customer":"c0","order":"plain-9"}');
INSERT INTO "events" VALUES(4294967494,55,'fulfil.output','c0','55-1-24/198',1795682912616185,1795682912761541,4294967320,NULL,NULL,0,'{"order":"plain-9","said":null,"so_far":["plain-3","plain-6","plain-9"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967501,33,'alerts','c1','33-1-20/205',1795682912616185,1795682912774719,4294967316,NULL,NULL,0,'{"customer":"c1","order":"plain-7"}');
INSERT INTO "events" VALUES(4294967503,33,'fulfil.output','c1','33-1-20/207',1795682912616185,1795682912774719,4294967316,NULL,NULL,0,'{"order":"plain-7","said":null,"so_far":["plain-1","plain-4","plain-7"],"text":"sent"}');
INSERT INTO "events" VALUES(30064771088,60,'alerts','willy','60-1-38/16',1795682912616185,1795682918765113,4294967334,NULL,NULL,0,'{"customer":"willy","order":"waiting-2"}');
INSERT INTO "events" VALUES(30064771090,60,'fulfil.output','willy','60-1-38/18',1795682912616185,1795682918765113,4294967334,NULL,NULL,0,'{"order":"waiting-2","said":[{"ok":true},"alice"],"so_far":["waiting-2"],"text":"sent"}');
INSERT INTO "events" VALUES(34359738369,63,'orders','sue','struck-1',1795682919692233,1795682919692341,NULL,'orders','25',0,'{"order": "struck-1", "customer": "sue", "kind": "struck"}');
CREATE TABLE letters (
  "letter" INTEGER PRIMARY KEY,
  "stream" TEXT NOT NULL,
  "source" TEXT,
  "position" TEXT,
  "cause" INTEGER,
  "key" TEXT,
  "id" TEXT,
  "time" INTEGER,
  "at" INTEGER NOT NULL,
  "error" TEXT NOT NULL,
  "kept" TEXT NOT NULL,
  "codec" INTEGER NOT NULL,
  "data" TEXT,
  "size" INTEGER NOT NULL
) STRICT;
INSERT INTO "letters" VALUES(4294967297,'orders','orders','22',NULL,NULL,NULL,NULL,1795682912616456,'does not fit its declared type: Invalid decimal string - at `$.price`','line',0,'{"order": "broken price", "customer": "x", "kind": "plain", "price": "much"}',76);
INSERT INTO "letters" VALUES(4294967299,'orders','orders','23',NULL,NULL,NULL,NULL,1795682912616456,'does not fit its declared type: Object missing required field `order`','line',0,'{"customer": "x", "kind": "plain"}',34);
INSERT INTO "letters" VALUES(4294967301,'orders','orders','24',NULL,NULL,NULL,NULL,1795682912616456,'malformed JSON: Input data was truncated','line',0,'{"order": "torn-1", "cust',25);
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
INSERT INTO "mail" VALUES(8589934593,11,'fulfil','nora',NULL,'signal','note',NULL,'n1','alice',1795682914606762,0,'"nobody waits for it yet"',NULL);
INSERT INTO "mail" VALUES(17179869185,28,'fulfil','ed',4294967342,'signal','go',NULL,'17179869185','alice',1795682916093507,0,'1',NULL);
CREATE TABLE meta (
  "name" TEXT NOT NULL,
  "value" TEXT NOT NULL,
  PRIMARY KEY ("name")
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('app','"history"');
INSERT INTO "meta" VALUES('clean','0');
INSERT INTO "meta" VALUES('created','1795682912553232');
INSERT INTO "meta" VALUES('epoch','8');
INSERT INTO "meta" VALUES('partitions','64');
INSERT INTO "meta" VALUES('schema','1');
INSERT INTO "meta" VALUES('store_id','"b3dd59b3ee43495185a39fa332b599b5"');
INSERT INTO "meta" VALUES('time','1795682919692476');
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
INSERT INTO "outputs" VALUES('fulfil.output.sink',2,27,4294967393,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('doubts.sink',1,19,4294967398,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',3,55,4294967409,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',4,33,4294967423,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',5,27,4294967441,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',6,55,4294967455,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',7,33,4294967467,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',8,27,4294967485,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',9,55,4294967494,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',10,33,4294967503,NULL,NULL,NULL,1,0,NULL);
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
INSERT INTO "records" VALUES(4294967343,55,4294967340,0,1795682912617030,'intended','ask.desk','desk',NULL,0,'anna',NULL,0,'{"about":"asking-1"}',NULL,NULL);
INSERT INTO "records" VALUES(4294967346,28,4294967342,0,1795682912617030,'intended','charge','charge','idempotent',1,'f58ad8e8f86eb63f99c6a1a9b8d5dcff',NULL,0,'[["edited-1","1.50","edited"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967347,33,4294967304,0,1795682912619433,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-1"],{}]','{"order":"plain-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967348,33,4294967304,0,1795682912619433,'intended','charge','charge','idempotent',1,'2ecd6912dd4a3ff05a4e442a86c668b4',NULL,0,'[["plain-1","1.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967349,27,4294967306,0,1795682912619908,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-2"],{}]','{"order":"plain-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967350,27,4294967306,0,1795682912619908,'intended','charge','charge','idempotent',1,'da47d3013ea6d504f3131688b8a369e0',NULL,0,'[["plain-2","2.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967351,55,4294967308,0,1795682912620084,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-3"],{}]','{"order":"plain-3","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967352,55,4294967308,0,1795682912620084,'intended','charge','charge','idempotent',1,'023e4c54eef33d2bf224440ea592a2a1',NULL,0,'[["plain-3","3.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967353,47,4294967322,0,1795682912620317,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["declined-1"],{}]','{"order":"declined-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967354,47,4294967322,0,1795682912620317,'intended','charge','charge','idempotent',1,'262934578772c3e3483bb973d181ac0c',NULL,0,'[["declined-1","1.50","declined"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967355,14,4294967324,0,1795682912620469,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["broken-1"],{}]','{"order":"broken-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967356,14,4294967324,0,1795682912620469,'intended','charge','charge','idempotent',1,'c26d307f73ef6e9d000a80ed307c6576',NULL,0,'[["broken-1","1.50","broken"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967357,19,4294967328,0,1795682912620594,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["doubtful-1"],{}]','{"order":"doubtful-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967358,19,4294967328,0,1795682912620594,'intended','charge','charge','idempotent',1,'1af373b1109c44d0a666728bb22be152',NULL,0,'[["doubtful-1","1.50","doubtful"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967359,28,4294967342,0,1795682912628360,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.50"',NULL);
INSERT INTO "records" VALUES(4294967360,33,4294967304,0,1795682912628588,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.25"',NULL);
INSERT INTO "records" VALUES(4294967361,33,4294967304,0,1795682912628588,'intended','book','book','transactional',1,'62dd5c9a69a800ca5a6795407ad2eda3',NULL,0,'[["plain-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967362,33,4294967304,0,1795682912628588,'intended','ship','ship','verified',1,'8d38cd183c34881d1f9bd106b0d37ddc',NULL,0,'[["plain-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967363,27,4294967306,0,1795682912628911,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"2.25"',NULL);
INSERT INTO "records" VALUES(4294967364,27,4294967306,0,1795682912628911,'intended','book','book','transactional',1,'53169b8e073b6fa157796e32e6564bc8',NULL,0,'[["plain-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967365,27,4294967306,0,1795682912628911,'intended','ship','ship','verified',1,'3e1f84368d5714cbca2230e18f8490d6',NULL,0,'[["plain-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967366,55,4294967308,0,1795682912629112,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"3.25"',NULL);
INSERT INTO "records" VALUES(4294967367,55,4294967308,0,1795682912629112,'intended','book','book','transactional',1,'97a659e6d7b0b3f7fe059594c7f209a8',NULL,0,'[["plain-3"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967368,55,4294967308,0,1795682912629112,'intended','ship','ship','verified',1,'aa7147a36d216329a4a88665b32de6df',NULL,0,'[["plain-3"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967369,47,4294967322,0,1795682912629784,'resulted','charge','charge','idempotent',1,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 62, in charge\n    raise Declined(\"no money\", 150)\napp.Declined: no money\n"}',0,NULL,NULL,'{"data":{"args":["no money"],"fields":{"cents":150,"reason":"no money"}},"message":"no money","type":"Declined"}');
INSERT INTO "records" VALUES(4294967371,14,4294967324,0,1795682912630366,'resulted','charge','charge','idempotent',1,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 64, in charge\n    raise ValueError(\"no such account\")\nValueError: no such account\n"}',0,NULL,NULL,'{"data":null,"message":"no such account","type":"ValueError"}');
INSERT INTO "records" VALUES(4294967372,19,4294967328,0,1795682912636107,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.50"',NULL);
INSERT INTO "records" VALUES(4294967373,19,4294967328,0,1795682912636107,'intended','book','book','transactional',1,'3402ad72dfed3d0de91387a71cd39855',NULL,0,'[["doubtful-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967374,19,4294967328,0,1795682912636107,'intended','ship','ship','verified',1,'fca74144707c0153ffa33f515ac8f787',NULL,0,'[["doubtful-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967375,14,4294967326,0,1795682912636434,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["broken-2"],{}]','{"order":"broken-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967376,14,4294967326,0,1795682912636434,'intended','charge','charge','idempotent',1,'544a018b5b5ab8050c5cae876f55be46',NULL,0,'[["broken-2","1.50","broken"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967377,33,4294967304,0,1795682912642432,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-1"',NULL);
INSERT INTO "records" VALUES(4294967378,27,4294967306,0,1795682912642681,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-2"',NULL);
INSERT INTO "records" VALUES(4294967379,55,4294967308,0,1795682912642982,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-3"',NULL);
INSERT INTO "records" VALUES(4294967380,19,4294967328,0,1795682912643116,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"doubtful-1"',NULL);
INSERT INTO "records" VALUES(4294967381,14,4294967326,0,1795682912645060,'resulted','charge','charge','idempotent',1,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 64, in charge\n    raise ValueError(\"no such account\")\nValueError: no such account\n"}',0,NULL,NULL,'{"data":null,"message":"no such account","type":"ValueError"}');
INSERT INTO "records" VALUES(4294967382,27,4294967306,0,1795682912656316,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-2"',NULL);
INSERT INTO "records" VALUES(4294967383,19,4294967328,0,1795682912658466,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"doubtful-1"',NULL);
INSERT INTO "records" VALUES(4294967384,27,4294967306,0,1795682912667876,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967385,27,4294967306,0,1795682912667876,'intended','text','text','at_most_once',1,'1836abdf574c1c7e4b938d8ef79577d1',NULL,0,'[["plain-2","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967386,19,4294967328,0,1795682912668492,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967387,19,4294967328,0,1795682912668492,'intended','text','text','at_most_once',1,'1529be997b6854d4826a9566e6f8a48b',NULL,0,'[["doubtful-1","doubtful"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967388,55,4294967308,0,1795682912669324,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-3"',NULL);
INSERT INTO "records" VALUES(4294967389,27,4294967306,0,1795682912670248,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967390,27,4294967306,0,1795682912670248,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["plain-2"],"spent":"2.25"}',NULL);
INSERT INTO "records" VALUES(4294967394,27,4294967392,0,1795682912670663,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(4294967395,27,4294967312,0,1795682912676094,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-5"],{}]','{"order":"plain-5","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967396,27,4294967312,0,1795682912676094,'intended','charge','charge','idempotent',1,'85a1c5129fdff527049dac0dce420087',NULL,0,'[["plain-5","5.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967397,19,4294967328,0,1795682912677797,'doubted','text','text','at_most_once',1,NULL,'{"ended":"ambiguous","settle":"hold","settle_at":null,"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 97, in text\n    raise ConnectionResetError(\"the line broke\")\nConnectionResetError: the line broke\n"}',0,NULL,NULL,'{"data":null,"message":"the line broke","type":"ConnectionResetError"}');
INSERT INTO "records" VALUES(4294967399,55,4294967308,0,1795682912683898,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967400,55,4294967308,0,1795682912683898,'intended','text','text','at_most_once',1,'917c6b3a8a26ced54aa6a3fd3abd6e13',NULL,0,'[["plain-3","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967401,33,4294967304,0,1795682912684136,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-1"',NULL);
INSERT INTO "records" VALUES(4294967402,27,4294967312,0,1795682912684663,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"5.25"',NULL);
INSERT INTO "records" VALUES(4294967403,27,4294967312,0,1795682912684663,'intended','book','book','transactional',1,'87274c8bfc91295f3983b8e0dd2afb47',NULL,0,'[["plain-5"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967404,27,4294967312,0,1795682912684663,'intended','ship','ship','verified',1,'59fa9a51808c7159bd4bb452d5d468fa',NULL,0,'[["plain-5"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967405,55,4294967308,0,1795682912688824,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967406,55,4294967308,0,1795682912688824,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["plain-3"],"spent":"3.25"}',NULL);
INSERT INTO "records" VALUES(4294967410,55,4294967408,0,1795682912689159,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(4294967411,55,4294967314,0,1795682912691861,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-6"],{}]','{"order":"plain-6","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967412,55,4294967314,0,1795682912691861,'intended','charge','charge','idempotent',1,'b3a9473cdc502edea03c16312f7ca980',NULL,0,'[["plain-6","6.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967413,33,4294967304,0,1795682912695842,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967414,33,4294967304,0,1795682912695842,'intended','text','text','at_most_once',1,'d47377ebc54951e5702287b6a1f4ae4a',NULL,0,'[["plain-1","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967415,27,4294967312,0,1795682912696084,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-5"',NULL);
INSERT INTO "records" VALUES(4294967416,55,4294967314,0,1795682912700074,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"6.25"',NULL);
INSERT INTO "records" VALUES(4294967417,55,4294967314,0,1795682912700074,'intended','book','book','transactional',1,'13c9800c9a9e475b3a6d86566b042cfa',NULL,0,'[["plain-6"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967418,55,4294967314,0,1795682912700074,'intended','ship','ship','verified',1,'e8951ce0a7d8ed8bc08e65d99df6f935',NULL,0,'[["plain-6"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967419,33,4294967304,0,1795682912700818,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967420,33,4294967304,0,1795682912700818,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["plain-1"],"spent":"1.25"}',NULL);
INSERT INTO "records" VALUES(4294967424,33,4294967422,0,1795682912701127,'released',NULL,NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967425,33,4294967422,0,1795682912701127,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(4294967426,33,4294967310,0,1795682912701873,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-4"],{}]','{"order":"plain-4","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967427,33,4294967310,0,1795682912701873,'intended','charge','charge','idempotent',1,'af940b38b3f50e2b663195db8c3ea2cd',NULL,0,'[["plain-4","4.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967428,55,4294967314,0,1795682912702498,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-6"',NULL);
INSERT INTO "records" VALUES(4294967429,27,4294967312,0,1795682912702814,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-5"',NULL);
INSERT INTO "records" VALUES(4294967430,33,4294967310,0,1795682912709937,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"4.25"',NULL);
INSERT INTO "records" VALUES(4294967431,33,4294967310,0,1795682912709937,'intended','book','book','transactional',1,'5547c89a021d3d0e5be39cce82244614',NULL,0,'[["plain-4"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967432,33,4294967310,0,1795682912709937,'intended','ship','ship','verified',1,'1830f74a1e209b3642c6ae8cc5771900',NULL,0,'[["plain-4"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967433,55,4294967314,0,1795682912710875,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-6"',NULL);
INSERT INTO "records" VALUES(4294967434,33,4294967310,0,1795682912711539,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-4"',NULL);
INSERT INTO "records" VALUES(4294967435,27,4294967312,0,1795682912713399,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967436,27,4294967312,0,1795682912713399,'intended','text','text','at_most_once',1,'9c85832ddf67be866e07811ee37bb1de',NULL,0,'[["plain-5","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967437,27,4294967312,0,1795682912714520,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967438,27,4294967312,0,1795682912714520,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967306,"version":2}',0,NULL,'{"orders":["plain-2","plain-5"],"spent":"7.50"}',NULL);
INSERT INTO "records" VALUES(4294967442,27,4294967440,0,1795682912714520,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967392,"version":2}',0,NULL,'{"alerts":2}',NULL);
INSERT INTO "records" VALUES(4294967443,27,4294967318,0,1795682912716213,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-8"],{}]','{"order":"plain-8","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967444,27,4294967318,0,1795682912716213,'intended','charge','charge','idempotent',1,'55d5841f038c22edf2ca56a0377ce894',NULL,0,'[["plain-8","8.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967445,33,4294967310,0,1795682912716344,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-4"',NULL);
INSERT INTO "records" VALUES(4294967446,55,4294967314,0,1795682912721083,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967447,55,4294967314,0,1795682912721083,'intended','text','text','at_most_once',1,'3f9a05ecd9f4a819bee0ce9f9b0dd314',NULL,0,'[["plain-6","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967448,27,4294967318,0,1795682912723955,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"8.25"',NULL);
INSERT INTO "records" VALUES(4294967449,27,4294967318,0,1795682912723955,'intended','book','book','transactional',1,'cce5b04cfa6f4b0a97e30db264d00c85',NULL,0,'[["plain-8"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967450,27,4294967318,0,1795682912723955,'intended','ship','ship','verified',1,'19247992ed0b25edc8117375f5e7321a',NULL,0,'[["plain-8"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967451,55,4294967314,0,1795682912727955,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967452,55,4294967314,0,1795682912727955,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967308,"version":2}',0,NULL,'{"orders":["plain-3","plain-6"],"spent":"9.50"}',NULL);
INSERT INTO "records" VALUES(4294967456,55,4294967454,0,1795682912727955,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967408,"version":2}',0,NULL,'{"alerts":2}',NULL);
INSERT INTO "records" VALUES(4294967457,33,4294967310,0,1795682912728513,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967458,33,4294967310,0,1795682912728513,'intended','text','text','at_most_once',1,'c9a637001faebd99a2f3a5ee27c46889',NULL,0,'[["plain-4","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967459,55,4294967320,0,1795682912731928,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-9"],{}]','{"order":"plain-9","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967460,55,4294967320,0,1795682912731928,'intended','charge','charge','idempotent',1,'daefb24e6ed6c0b03545ec90da7ac133',NULL,0,'[["plain-9","9.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967461,27,4294967318,0,1795682912732577,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-8"',NULL);
INSERT INTO "records" VALUES(4294967462,27,4294967318,0,1795682912735995,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-8"',NULL);
INSERT INTO "records" VALUES(4294967463,33,4294967310,0,1795682912736518,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967464,33,4294967310,0,1795682912736518,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967304,"version":2}',0,NULL,'{"orders":["plain-1","plain-4"],"spent":"5.50"}',NULL);
INSERT INTO "records" VALUES(4294967468,33,4294967466,0,1795682912736518,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967422,"version":2}',0,NULL,'{"alerts":2}',NULL);
INSERT INTO "records" VALUES(4294967469,55,4294967320,0,1795682912739922,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"9.25"',NULL);
INSERT INTO "records" VALUES(4294967470,55,4294967320,0,1795682912739922,'intended','book','book','transactional',1,'b1ff1003629fc12a139bbffde889454c',NULL,0,'[["plain-9"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967471,55,4294967320,0,1795682912739922,'intended','ship','ship','verified',1,'7e355d321556da48cb9df1f790541552',NULL,0,'[["plain-9"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967472,33,4294967316,0,1795682912740444,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-7"],{}]','{"order":"plain-7","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967473,33,4294967316,0,1795682912740444,'intended','charge','charge','idempotent',1,'d704074e315603a955e2522bf0e92378',NULL,0,'[["plain-7","7.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967474,55,4294967320,0,1795682912744159,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-9"',NULL);
INSERT INTO "records" VALUES(4294967475,27,4294967318,0,1795682912747869,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967476,27,4294967318,0,1795682912747869,'intended','text','text','at_most_once',1,'0d9682495b879a5886f171ce74627f0a',NULL,0,'[["plain-8","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967477,33,4294967316,0,1795682912748571,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"7.25"',NULL);
INSERT INTO "records" VALUES(4294967478,33,4294967316,0,1795682912748571,'intended','book','book','transactional',1,'fd9addd3567833f0295a293b20482095',NULL,0,'[["plain-7"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967479,33,4294967316,0,1795682912748571,'intended','ship','ship','verified',1,'4cc07d5112af6196fb8360667bb51942',NULL,0,'[["plain-7"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967480,55,4294967320,0,1795682912748786,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-9"',NULL);
INSERT INTO "records" VALUES(4294967481,27,4294967318,0,1795682912751998,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967482,27,4294967318,0,1795682912751998,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967312,"version":3}',0,NULL,'{"orders":["plain-2","plain-5","plain-8"],"spent":"15.75"}',NULL);
INSERT INTO "records" VALUES(4294967486,27,4294967484,0,1795682912751998,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967440,"version":3}',0,NULL,'{"alerts":3}',NULL);
INSERT INTO "records" VALUES(4294967487,33,4294967316,0,1795682912759972,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-7"',NULL);
INSERT INTO "records" VALUES(4294967488,55,4294967320,0,1795682912760293,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967489,55,4294967320,0,1795682912760293,'intended','text','text','at_most_once',1,'1afef2211063535ce6c36e0a04e445ad',NULL,0,'[["plain-9","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967490,55,4294967320,0,1795682912761541,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967491,55,4294967320,0,1795682912761541,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967314,"version":3}',0,NULL,'{"orders":["plain-3","plain-6","plain-9"],"spent":"18.75"}',NULL);
INSERT INTO "records" VALUES(4294967495,55,4294967493,0,1795682912761541,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967454,"version":3}',0,NULL,'{"alerts":3}',NULL);
INSERT INTO "records" VALUES(4294967496,33,4294967316,0,1795682912761857,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-7"',NULL);
INSERT INTO "records" VALUES(4294967497,33,4294967316,0,1795682912773014,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967498,33,4294967316,0,1795682912773014,'intended','text','text','at_most_once',1,'aa03d04e9dd9521a836d2a8823e257a0',NULL,0,'[["plain-7","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967499,33,4294967316,0,1795682912774719,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967500,33,4294967316,0,1795682912774719,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967310,"version":3}',0,NULL,'{"orders":["plain-1","plain-4","plain-7"],"spent":"12.75"}',NULL);
INSERT INTO "records" VALUES(4294967504,33,4294967502,0,1795682912774719,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967466,"version":3}',0,NULL,'{"alerts":3}',NULL);
INSERT INTO "records" VALUES(21474836481,22,4294967338,0,1795682916874521,'cancelled',NULL,NULL,NULL,0,NULL,'{"by":"bob"}',0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(25769803777,14,4294967326,1,1795682917701992,'retried',NULL,NULL,NULL,0,NULL,'{"began":1795682912630366,"by":"bob"}',0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(30064771073,14,4294967326,1,1795682918721759,'resulted','look_up','look_up','read',1,NULL,'{"first":1795682912636434}',0,'[["broken-2"],{}]','{"order":"broken-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(30064771074,14,4294967326,1,1795682918721759,'intended','charge','charge','idempotent',2,'544a018b5b5ab8050c5cae876f55be46',NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(30064771075,60,4294967334,0,1795682918736388,'received','signal.approval','approval',NULL,0,NULL,'{"about":"waiting-2","by":"alice","id":"12884901889","sent":1795682915274490}',0,NULL,'{"ok":true}',NULL);
INSERT INTO "records" VALUES(30064771076,14,4294967326,1,1795682918740452,'resulted','charge','charge','idempotent',2,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 64, in charge\n    raise ValueError(\"no such account\")\nValueError: no such account\n"}',0,NULL,NULL,'{"data":null,"message":"no such account","type":"ValueError"}');
INSERT INTO "records" VALUES(30064771077,60,4294967334,0,1795682918741450,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["waiting-2"],{}]','{"order":"waiting-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(30064771078,60,4294967334,0,1795682918741450,'intended','charge','charge','idempotent',1,'bfc5f8f4bc8b43a35b7b6c530822b9c3',NULL,0,'[["waiting-2","1.50","waiting"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771079,60,4294967334,0,1795682918745098,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.50"',NULL);
INSERT INTO "records" VALUES(30064771080,60,4294967334,0,1795682918745098,'intended','book','book','transactional',1,'616f9fe0bb6e38d9e02378173b1f1b8d',NULL,0,'[["waiting-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771081,60,4294967334,0,1795682918745098,'intended','ship','ship','verified',1,'de165523480cb33396417bfaa44e422a',NULL,0,'[["waiting-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771082,60,4294967334,0,1795682918748060,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"waiting-2"',NULL);
INSERT INTO "records" VALUES(30064771083,60,4294967334,0,1795682918753716,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"waiting-2"',NULL);
INSERT INTO "records" VALUES(30064771084,60,4294967334,0,1795682918764211,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(30064771085,60,4294967334,0,1795682918764211,'intended','text','text','at_most_once',1,'d6e815391d7fd6127805e27ed5c5a1c2',NULL,0,'[["waiting-2","waiting"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771086,60,4294967334,0,1795682918765113,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(30064771087,60,4294967334,0,1795682918765113,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["waiting-2"],"spent":"1.50"}',NULL);
INSERT INTO "records" VALUES(30064771091,60,30064771089,0,1795682918765410,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(34359738371,63,34359738370,0,1795682919692476,'intended','charge','charge','idempotent',1,'187c928616e52163d754e36348171234',NULL,0,'[["struck-1","1.50","struck"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(34359738372,63,34359738370,0,1795682919692476,'intended','strike','strike','at_most_once',1,'508bb3c40844ae9af9b468fce0de4b44',NULL,0,'[["struck-1"],{}]',NULL,NULL);
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
INSERT INTO "runs" VALUES(4294967304,33,'fulfil','c1',4294967303,NULL,'done',0,1795682912616456,1795682912617030,1795682912700818,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967306,27,'fulfil','c2',4294967305,NULL,'done',0,1795682912616456,1795682912617030,1795682912670248,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967308,55,'fulfil','c0',4294967307,NULL,'done',0,1795682912616456,1795682912617030,1795682912688824,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967310,33,'fulfil','c1',4294967309,NULL,'done',0,1795682912616456,1795682912700818,1795682912736518,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967312,27,'fulfil','c2',4294967311,NULL,'done',0,1795682912616456,1795682912670248,1795682912714520,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967314,55,'fulfil','c0',4294967313,NULL,'done',0,1795682912616456,1795682912688824,1795682912727955,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967316,33,'fulfil','c1',4294967315,NULL,'done',0,1795682912616456,1795682912736518,1795682912774719,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967318,27,'fulfil','c2',4294967317,NULL,'done',0,1795682912616456,1795682912714520,1795682912751998,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967320,55,'fulfil','c0',4294967319,NULL,'done',0,1795682912616456,1795682912727955,1795682912761541,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967322,47,'fulfil','dora',4294967321,NULL,'done',0,1795682912616456,1795682912617030,1795682912629784,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967324,14,'fulfil','bert',4294967323,NULL,'failed',0,1795682912616456,1795682912617030,1795682912630366,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"no such account","tool":"charge","type":"ValueError"}');
INSERT INTO "runs" VALUES(4294967326,14,'fulfil','bert',4294967325,NULL,'failed',1,1795682912616456,1795682918721759,1795682918740452,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"no such account","tool":"charge","type":"ValueError"}');
INSERT INTO "runs" VALUES(4294967328,19,'fulfil','dick',4294967327,4294967328,'in_doubt',0,1795682912616456,1795682912617030,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967330,19,'fulfil','dick',4294967329,4294967330,'queued',0,1795682912616456,NULL,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967332,35,'fulfil','wanda',4294967331,4294967332,'waiting',0,1795682912616456,1795682912617030,NULL,NULL,'[["signal.approval","receive","approval","waiting-1"]]',NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967334,60,'fulfil','willy',4294967333,NULL,'done',0,1795682912616456,1795682912617030,1795682918765113,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967336,35,'fulfil','wanda',4294967335,4294967336,'queued',0,1795682912616456,NULL,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967338,22,'fulfil','cora',4294967337,NULL,'cancelled',0,1795682912616456,1795682912617030,1795682918721759,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"the run was cancelled","type":"Cancelled"}');
INSERT INTO "runs" VALUES(4294967340,55,'fulfil','anna',4294967339,4294967340,'waiting',0,1795682912616456,1795682912617030,NULL,NULL,'[["ask.desk","ask","desk","anna"]]',NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967342,28,'fulfil','ed',4294967341,NULL,'diverged',0,1795682912616456,1795682912617030,1795682918736388,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"step 28-1-46/charge is recorded with the arguments [[\"edited-1\",\"1.50\",\"edited\"],{}]\nand the handler now asks for it with           [[\"edited\",\"1.50\",\"edited\"],{}]. The run is kept and tried again when the agent''s code changes. Known causes: steps named by position in a changed loop, a branch on something that is not recorded (wall clock, environment, global), coroutines given to asyncio.as_completed (they start in set order: use ctx.as_completed)","type":"Diverged"}');
INSERT INTO "runs" VALUES(4294967345,55,'desk','anna',4294967344,4294967345,'waiting',0,1795682912617030,1795682912618937,NULL,NULL,'[["signal.answer","receive","answer","asking-1"]]','[4294967340,"ask.desk","fulfil","anna"]','4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967392,27,'watch','c2',4294967391,NULL,'done',0,1795682912670248,1795682912670663,1795682912670663,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967408,55,'watch','c0',4294967407,NULL,'done',0,1795682912688824,1795682912689159,1795682912689159,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967422,33,'watch','c1',4294967421,NULL,'waiting',0,1795682912700818,1795682912701127,NULL,NULL,'[["signal.seen","receive","seen",null]]',NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967440,27,'watch','c2',4294967439,NULL,'done',0,1795682912714520,1795682912714520,1795682912714520,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967454,55,'watch','c0',4294967453,NULL,'done',0,1795682912727955,1795682912727955,1795682912727955,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967466,33,'watch','c1',4294967465,NULL,'done',0,1795682912736518,1795682912736518,1795682912736518,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967484,27,'watch','c2',4294967483,NULL,'done',0,1795682912751998,1795682912751998,1795682912751998,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967493,55,'watch','c0',4294967492,NULL,'done',0,1795682912761541,1795682912761541,1795682912761541,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967502,33,'watch','c1',4294967501,NULL,'done',0,1795682912774719,1795682912774719,1795682912774719,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(30064771089,60,'watch','willy',30064771088,NULL,'done',0,1795682918765113,1795682918765410,1795682918765410,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(34359738370,63,'fulfil','sue',34359738369,34359738370,'running',0,1795682919692341,1795682919692476,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
CREATE TABLE seen (
  "source" TEXT NOT NULL,
  "id" TEXT NOT NULL,
  "partition" INTEGER NOT NULL,
  "at" INTEGER NOT NULL,
  PRIMARY KEY ("source", "id")
) STRICT, WITHOUT ROWID;
INSERT INTO "seen" VALUES('orders','asking-1',55,1795682912616456);
INSERT INTO "seen" VALUES('orders','behind-a-doubt',19,1795682912616456);
INSERT INTO "seen" VALUES('orders','behind-a-wait',35,1795682912616456);
INSERT INTO "seen" VALUES('orders','broken-1',14,1795682912616456);
INSERT INTO "seen" VALUES('orders','broken-2',14,1795682912616456);
INSERT INTO "seen" VALUES('orders','cancelled-1',22,1795682912616456);
INSERT INTO "seen" VALUES('orders','declined-1',47,1795682912616456);
INSERT INTO "seen" VALUES('orders','doubtful-1',19,1795682912616456);
INSERT INTO "seen" VALUES('orders','edited-1',28,1795682912616456);
INSERT INTO "seen" VALUES('orders','plain-1',33,1795682912616456);
INSERT INTO "seen" VALUES('orders','plain-2',27,1795682912616456);
INSERT INTO "seen" VALUES('orders','plain-3',55,1795682912616456);
INSERT INTO "seen" VALUES('orders','plain-4',33,1795682912616456);
INSERT INTO "seen" VALUES('orders','plain-5',27,1795682912616456);
INSERT INTO "seen" VALUES('orders','plain-6',55,1795682912616456);
INSERT INTO "seen" VALUES('orders','plain-7',33,1795682912616456);
INSERT INTO "seen" VALUES('orders','plain-8',27,1795682912616456);
INSERT INTO "seen" VALUES('orders','plain-9',55,1795682912616456);
INSERT INTO "seen" VALUES('orders','struck-1',63,1795682919692341);
INSERT INTO "seen" VALUES('orders','waiting-1',35,1795682912616456);
INSERT INTO "seen" VALUES('orders','waiting-2',60,1795682912616456);
INSERT INTO "seen" VALUES('signals','["fulfil","nora","n1"]',11,1795682914606762);
CREATE TABLE sinks (
  "sink" TEXT NOT NULL,
  "row" INTEGER NOT NULL,
  "position" TEXT,
  PRIMARY KEY ("sink")
) STRICT, WITHOUT ROWID;
INSERT INTO "sinks" VALUES('dead_letters.sink',3,'{"inode":2253274,"offset":612,"path":"/history/letters.jsonl"}');
INSERT INTO "sinks" VALUES('doubts.sink',1,'{"inode":2253273,"offset":335,"path":"/history/doubts.jsonl"}');
INSERT INTO "sinks" VALUES('fulfil.output.sink',11,'{"inode":2253268,"offset":838,"path":"/history/receipts.jsonl"}');
INSERT INTO "sinks" VALUES('large',1,'{"inode":2253275,"offset":50,"path":"/history/large.jsonl"}');
CREATE TABLE sources (
  "source" TEXT NOT NULL,
  "position" TEXT,
  "events" INTEGER NOT NULL,
  "duplicates" INTEGER NOT NULL,
  "rejected" INTEGER NOT NULL,
  "ended" INTEGER NOT NULL,
  PRIMARY KEY ("source")
) STRICT, WITHOUT ROWID;
INSERT INTO "sources" VALUES('orders','{"head":"c84e539e8f5e148f","inode":2256545,"line":25,"mtime":1795682918801362435,"offset":1598}',21,1,3,0);
CREATE TABLE states (
  "agent" TEXT NOT NULL,
  "key" TEXT NOT NULL,
  "partition" INTEGER NOT NULL,
  "version" INTEGER NOT NULL,
  "run" INTEGER NOT NULL,
  "record" INTEGER,
  "codec" INTEGER NOT NULL,
  "payload" TEXT,
  PRIMARY KEY ("agent", "key")
) STRICT;
INSERT INTO "states" VALUES('fulfil','c2',27,3,4294967318,4294967482,0,NULL);
INSERT INTO "states" VALUES('watch','c2',27,3,4294967484,4294967486,0,NULL);
INSERT INTO "states" VALUES('fulfil','c0',55,3,4294967320,4294967491,0,NULL);
INSERT INTO "states" VALUES('watch','c0',55,3,4294967493,4294967495,0,NULL);
INSERT INTO "states" VALUES('fulfil','c1',33,3,4294967316,4294967500,0,NULL);
INSERT INTO "states" VALUES('watch','c1',33,3,4294967502,4294967504,0,NULL);
INSERT INTO "states" VALUES('fulfil','willy',60,1,4294967334,30064771087,0,NULL);
INSERT INTO "states" VALUES('watch','willy',60,1,30064771089,30064771091,0,NULL);
CREATE INDEX runs_line ON runs(agent, key, turn) WHERE turn IS NOT NULL;
CREATE INDEX runs_turn ON runs(turn) WHERE turn IS NOT NULL;
CREATE INDEX runs_wake ON runs(wake) WHERE wake IS NOT NULL;
CREATE INDEX runs_open ON runs(status, agent, key) WHERE status NOT IN ('done', 'cancelled');
CREATE INDEX records_run ON records(run);
CREATE INDEX runs_waits_0 ON runs(agent, key, json_extract(awaits, '$[0][2]'), json_extract(awaits, '$[0][3]')) WHERE awaits IS NOT NULL AND json_extract(awaits, '$[0][1]') = 'receive';
CREATE INDEX runs_waits_1 ON runs(agent, key, json_extract(awaits, '$[1][2]'), json_extract(awaits, '$[1][3]')) WHERE awaits IS NOT NULL AND json_extract(awaits, '$[1][1]') = 'receive';
CREATE INDEX runs_waits_2 ON runs(agent, key, json_extract(awaits, '$[2][2]'), json_extract(awaits, '$[2][3]')) WHERE awaits IS NOT NULL AND json_extract(awaits, '$[2][1]') = 'receive';
CREATE INDEX runs_waits_more ON runs(agent, key) WHERE awaits IS NOT NULL AND json_extract(awaits, '$[3][1]') IS NOT NULL;
CREATE INDEX mail_name ON mail(agent, key, name, run);
CREATE INDEX mail_about ON mail(agent, key, name, run, about) WHERE about IS NOT NULL;
CREATE INDEX events_cause ON events(cause) WHERE cause IS NOT NULL;
CREATE INDEX seen_at ON seen(source, at);
CREATE VIEW runs_view AS SELECT id, agent, "key", status, generation, strftime('%Y-%m-%dT%H:%M:%fZ', created / 1e6, 'unixepoch') AS "created", strftime('%Y-%m-%dT%H:%M:%fZ', started / 1e6, 'unixepoch') AS "started", strftime('%Y-%m-%dT%H:%M:%fZ', finished / 1e6, 'unixepoch') AS "finished", strftime('%Y-%m-%dT%H:%M:%fZ', wake / 1e6, 'unixepoch') AS "wake", awaits, error FROM runs;
CREATE VIEW records_view AS SELECT runs.id, records.record, strftime('%Y-%m-%dT%H:%M:%fZ', records.at / 1e6, 'unixepoch') AS "at", records.kind, records.step, records.tool, records.effect, records.attempt, records."key" AS idempotency_key, records.args, records.result, records.error, records.note FROM records JOIN runs ON runs.run = records.run;
CREATE VIEW states_view AS SELECT s.agent, s."key", s.version, runs.id AS run, coalesce(s.payload, records.result) AS state FROM states s LEFT JOIN records ON records.record = s.record LEFT JOIN runs ON runs.run = s.run;
COMMIT;
