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
INSERT INTO "doubts" VALUES(4294967328,'text',19,'fulfil','dick','text','at_most_once','6f61b3e16bbaa7fb2ed78d7401cc1f1f',1,1795649384126633,1795649384127492,NULL,0,'[["doubtful-1","doubtful"],{}]','{"data":null,"message":"the line broke","type":"ConnectionResetError"}');
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
INSERT INTO "events" VALUES(4294967298,46,'dead_letters','orders','letter-4294967297~dead_letters',1795649383948826,1795649383948826,NULL,NULL,NULL,0,'{"at":"2026-11-25T23:29:43.948826Z","data":"{\"order\": \"broken price\", \"customer\": \"x\", \"kind\": \"plain\", \"price\": \"much\"}","error":"does not fit its declared type: Invalid decimal string - at `$.price`","position":22,"stream":"orders"}');
INSERT INTO "events" VALUES(4294967300,46,'dead_letters','orders','letter-4294967299~dead_letters',1795649383948826,1795649383948826,NULL,NULL,NULL,0,'{"at":"2026-11-25T23:29:43.948826Z","data":"{\"customer\": \"x\", \"kind\": \"plain\"}","error":"does not fit its declared type: Object missing required field `order`","position":23,"stream":"orders"}');
INSERT INTO "events" VALUES(4294967302,46,'dead_letters','orders','letter-4294967301~dead_letters',1795649383948826,1795649383948826,NULL,NULL,NULL,0,'{"at":"2026-11-25T23:29:43.948826Z","data":"{\"order\": \"torn-1\", \"cust","error":"malformed JSON: Input data was truncated","position":24,"stream":"orders"}');
INSERT INTO "events" VALUES(4294967303,33,'orders','c1','plain-1',1795649383947884,1795649383948826,NULL,'orders','1',0,'{"order": "plain-1", "customer": "c1", "kind": "plain", "price": "1.25"}');
INSERT INTO "events" VALUES(4294967305,27,'orders','c2','plain-2',1795649383947884,1795649383948826,NULL,'orders','2',0,'{"order": "plain-2", "customer": "c2", "kind": "plain", "price": "2.25"}');
INSERT INTO "events" VALUES(4294967307,55,'orders','c0','plain-3',1795649383947884,1795649383948826,NULL,'orders','3',0,'{"order": "plain-3", "customer": "c0", "kind": "plain", "price": "3.25"}');
INSERT INTO "events" VALUES(4294967309,33,'orders','c1','plain-4',1795649383947884,1795649383948826,NULL,'orders','4',0,'{"order": "plain-4", "customer": "c1", "kind": "plain", "price": "4.25"}');
INSERT INTO "events" VALUES(4294967311,27,'orders','c2','plain-5',1795649383947884,1795649383948826,NULL,'orders','5',0,'{"order": "plain-5", "customer": "c2", "kind": "plain", "price": "5.25"}');
INSERT INTO "events" VALUES(4294967313,55,'orders','c0','plain-6',1795649383947884,1795649383948826,NULL,'orders','6',0,'{"order": "plain-6", "customer": "c0", "kind": "plain", "price": "6.25"}');
INSERT INTO "events" VALUES(4294967315,33,'orders','c1','plain-7',1795649383947884,1795649383948826,NULL,'orders','7',0,'{"order": "plain-7", "customer": "c1", "kind": "plain", "price": "7.25"}');
INSERT INTO "events" VALUES(4294967317,27,'orders','c2','plain-8',1795649383947884,1795649383948826,NULL,'orders','8',0,'{"order": "plain-8", "customer": "c2", "kind": "plain", "price": "8.25"}');
INSERT INTO "events" VALUES(4294967319,55,'orders','c0','plain-9',1795649383947884,1795649383948826,NULL,'orders','9',0,'{"order": "plain-9", "customer": "c0", "kind": "plain", "price": "9.25"}');
INSERT INTO "events" VALUES(4294967321,47,'orders','dora','declined-1',1795649383947884,1795649383948826,NULL,'orders','11',0,'{"order": "declined-1", "customer": "dora", "kind": "declined"}');
INSERT INTO "events" VALUES(4294967323,14,'orders','bert','broken-1',1795649383947884,1795649383948826,NULL,'orders','12',0,'{"order": "broken-1", "customer": "bert", "kind": "broken"}');
INSERT INTO "events" VALUES(4294967325,14,'orders','bert','broken-2',1795649383947884,1795649383948826,NULL,'orders','13',0,'{"order": "broken-2", "customer": "bert", "kind": "broken"}');
INSERT INTO "events" VALUES(4294967327,19,'orders','dick','doubtful-1',1795649383947884,1795649383948826,NULL,'orders','14',0,'{"order": "doubtful-1", "customer": "dick", "kind": "doubtful"}');
INSERT INTO "events" VALUES(4294967329,19,'orders','dick','behind-a-doubt',1795649383947884,1795649383948826,NULL,'orders','15',0,'{"order": "behind-a-doubt", "customer": "dick", "kind": "plain"}');
INSERT INTO "events" VALUES(4294967331,35,'orders','wanda','waiting-1',1795649383947884,1795649383948826,NULL,'orders','16',0,'{"order": "waiting-1", "customer": "wanda", "kind": "waiting"}');
INSERT INTO "events" VALUES(4294967333,60,'orders','willy','waiting-2',1795649383947884,1795649383948826,NULL,'orders','17',0,'{"order": "waiting-2", "customer": "willy", "kind": "waiting"}');
INSERT INTO "events" VALUES(4294967335,35,'orders','wanda','behind-a-wait',1795649383947884,1795649383948826,NULL,'orders','18',0,'{"order": "behind-a-wait", "customer": "wanda", "kind": "plain"}');
INSERT INTO "events" VALUES(4294967337,22,'orders','cora','cancelled-1',1795649383947884,1795649383948826,NULL,'orders','19',0,'{"order": "cancelled-1", "customer": "cora", "kind": "cancelled"}');
INSERT INTO "events" VALUES(4294967339,55,'orders','anna','asking-1',1795649383947884,1795649383948826,NULL,'orders','20',0,'{"order": "asking-1", "customer": "anna", "kind": "asking"}');
INSERT INTO "events" VALUES(4294967341,28,'orders','ed','edited-1',1795649383947884,1795649383948826,NULL,'orders','21',0,'{"order": "edited-1", "customer": "ed", "kind": "edited"}');
INSERT INTO "events" VALUES(4294967344,55,'desk.inbox','anna','55-1-44/48',1795649383947884,1795649383951563,4294967340,NULL,NULL,0,'{"about":"asking-1"}');
INSERT INTO "events" VALUES(4294967370,47,'fulfil.output','dora','47-1-26/74',1795649383947884,1795649383989609,4294967322,NULL,NULL,0,'{"cents":150,"declined":"no money","order":"declined-1"}');
INSERT INTO "events" VALUES(4294967388,55,'alerts','c0','55-1-12/92',1795649383947884,1795649384054929,4294967308,NULL,NULL,0,'{"customer":"c0","order":"plain-3"}');
INSERT INTO "events" VALUES(4294967390,55,'fulfil.output','c0','55-1-12/94',1795649383947884,1795649384054929,4294967308,NULL,NULL,0,'{"order":"plain-3","said":null,"so_far":["plain-3"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967402,33,'alerts','c1','33-1-8/106',1795649383947884,1795649384073759,4294967304,NULL,NULL,0,'{"customer":"c1","order":"plain-1"}');
INSERT INTO "events" VALUES(4294967404,33,'fulfil.output','c1','33-1-8/108',1795649383947884,1795649384073759,4294967304,NULL,NULL,0,'{"order":"plain-1","said":null,"so_far":["plain-1"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967414,27,'alerts','c2','27-1-10/118',1795649383947884,1795649384091336,4294967306,NULL,NULL,0,'{"customer":"c2","order":"plain-2"}');
INSERT INTO "events" VALUES(4294967416,27,'fulfil.output','c2','27-1-10/120',1795649383947884,1795649384091336,4294967306,NULL,NULL,0,'{"order":"plain-2","said":null,"so_far":["plain-2"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967434,55,'alerts','c0','55-1-18/138',1795649383947884,1795649384116060,4294967314,NULL,NULL,0,'{"customer":"c0","order":"plain-6"}');
INSERT INTO "events" VALUES(4294967436,55,'fulfil.output','c0','55-1-18/140',1795649383947884,1795649384116060,4294967314,NULL,NULL,0,'{"order":"plain-6","said":null,"so_far":["plain-3","plain-6"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967448,19,'doubts','dick','19-1-32/text/doubt~doubts',1795649383947884,1795649384127492,4294967328,NULL,NULL,0,'{"agent":"fulfil","args":["doubtful-1","doubtful"],"attempts":1,"effect":"at_most_once","error":{"data":null,"message":"the line broke","type":"ConnectionResetError"},"idempotency_key":"6f61b3e16bbaa7fb2ed78d7401cc1f1f","key":"dick","kwargs":{},"run":"19-1-32","sent":"2026-11-25T23:29:44.126633Z","step":"19-1-32/text","tool":"text"}');
INSERT INTO "events" VALUES(4294967454,27,'alerts','c2','27-1-16/158',1795649383947884,1795649384137361,4294967312,NULL,NULL,0,'{"customer":"c2","order":"plain-5"}');
INSERT INTO "events" VALUES(4294967456,27,'fulfil.output','c2','27-1-16/160',1795649383947884,1795649384137361,4294967312,NULL,NULL,0,'{"order":"plain-5","said":null,"so_far":["plain-2","plain-5"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967467,55,'alerts','c0','55-1-24/171',1795649383947884,1795649384145838,4294967320,NULL,NULL,0,'{"customer":"c0","order":"plain-9"}');
INSERT INTO "events" VALUES(4294967469,55,'fulfil.output','c0','55-1-24/173',1795649383947884,1795649384145838,4294967320,NULL,NULL,0,'{"order":"plain-9","said":null,"so_far":["plain-3","plain-6","plain-9"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967478,33,'alerts','c1','33-1-14/182',1795649383947884,1795649384174443,4294967310,NULL,NULL,0,'{"customer":"c1","order":"plain-4"}');
INSERT INTO "events" VALUES(4294967480,33,'fulfil.output','c1','33-1-14/184',1795649383947884,1795649384174443,4294967310,NULL,NULL,0,'{"order":"plain-4","said":null,"so_far":["plain-1","plain-4"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967492,27,'alerts','c2','27-1-22/196',1795649383947884,1795649384188972,4294967318,NULL,NULL,0,'{"customer":"c2","order":"plain-8"}');
INSERT INTO "events" VALUES(4294967494,27,'fulfil.output','c2','27-1-22/198',1795649383947884,1795649384188972,4294967318,NULL,NULL,0,'{"order":"plain-8","said":null,"so_far":["plain-2","plain-5","plain-8"],"text":"sent"}');
INSERT INTO "events" VALUES(4294967501,33,'alerts','c1','33-1-20/205',1795649383947884,1795649384205569,4294967316,NULL,NULL,0,'{"customer":"c1","order":"plain-7"}');
INSERT INTO "events" VALUES(4294967503,33,'fulfil.output','c1','33-1-20/207',1795649383947884,1795649384205569,4294967316,NULL,NULL,0,'{"order":"plain-7","said":null,"so_far":["plain-1","plain-4","plain-7"],"text":"sent"}');
INSERT INTO "events" VALUES(30064771088,60,'alerts','willy','60-1-38/16',1795649383947884,1795649391127899,4294967334,NULL,NULL,0,'{"customer":"willy","order":"waiting-2"}');
INSERT INTO "events" VALUES(30064771090,60,'fulfil.output','willy','60-1-38/18',1795649383947884,1795649391127899,4294967334,NULL,NULL,0,'{"order":"waiting-2","said":[{"ok":true},"alice"],"so_far":["waiting-2"],"text":"sent"}');
INSERT INTO "events" VALUES(34359738369,63,'orders','sue','struck-1',1795649392392253,1795649392392549,NULL,'orders','25',0,'{"order": "struck-1", "customer": "sue", "kind": "struck"}');
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
INSERT INTO "letters" VALUES(4294967297,'orders','orders','22',NULL,NULL,NULL,NULL,1795649383948826,'does not fit its declared type: Invalid decimal string - at `$.price`','line',0,'{"order": "broken price", "customer": "x", "kind": "plain", "price": "much"}',76);
INSERT INTO "letters" VALUES(4294967299,'orders','orders','23',NULL,NULL,NULL,NULL,1795649383948826,'does not fit its declared type: Object missing required field `order`','line',0,'{"customer": "x", "kind": "plain"}',34);
INSERT INTO "letters" VALUES(4294967301,'orders','orders','24',NULL,NULL,NULL,NULL,1795649383948826,'malformed JSON: Input data was truncated','line',0,'{"order": "torn-1", "cust',25);
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
INSERT INTO "mail" VALUES(8589934593,11,'fulfil','nora',NULL,'signal','note',NULL,'n1','alice',1795649385978253,0,'"nobody waits for it yet"',NULL);
INSERT INTO "mail" VALUES(17179869185,28,'fulfil','ed',4294967342,'signal','go',NULL,'17179869185','alice',1795649387850293,0,'1',NULL);
CREATE TABLE meta (
  "name" TEXT NOT NULL,
  "value" TEXT NOT NULL,
  PRIMARY KEY ("name")
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('app','"history"');
INSERT INTO "meta" VALUES('clean','0');
INSERT INTO "meta" VALUES('created','1795649383819415');
INSERT INTO "meta" VALUES('epoch','8');
INSERT INTO "meta" VALUES('partitions','64');
INSERT INTO "meta" VALUES('schema','1');
INSERT INTO "meta" VALUES('store_id','"866029ab2f4248759aee95125380abe8"');
INSERT INTO "meta" VALUES('time','1795649392392791');
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
INSERT INTO "outputs" VALUES('fulfil.output.sink',2,55,4294967390,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',3,33,4294967404,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',4,27,4294967416,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',5,55,4294967436,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('doubts.sink',1,19,4294967448,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',6,27,4294967456,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',7,55,4294967469,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',8,33,4294967480,NULL,NULL,NULL,1,0,NULL);
INSERT INTO "outputs" VALUES('fulfil.output.sink',9,27,4294967494,NULL,NULL,NULL,1,0,NULL);
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
INSERT INTO "records" VALUES(4294967343,55,4294967340,0,1795649383951563,'intended','ask.desk','desk',NULL,0,'anna',NULL,0,'{"about":"asking-1"}',NULL,NULL);
INSERT INTO "records" VALUES(4294967346,28,4294967342,0,1795649383951563,'intended','charge','charge','idempotent',1,'98a149425f201c40e7a88b30553a8a97',NULL,0,'[["edited-1","1.50","edited"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967347,33,4294967304,0,1795649383965904,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-1"],{}]','{"order":"plain-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967348,33,4294967304,0,1795649383965904,'intended','charge','charge','idempotent',1,'9639e644e37be4a857e15f0223fbb159',NULL,0,'[["plain-1","1.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967349,27,4294967306,0,1795649383966518,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-2"],{}]','{"order":"plain-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967350,27,4294967306,0,1795649383966518,'intended','charge','charge','idempotent',1,'d12908eb3b2a1e8eb2e55da310d91128',NULL,0,'[["plain-2","2.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967351,55,4294967308,0,1795649383966900,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-3"],{}]','{"order":"plain-3","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967352,55,4294967308,0,1795649383966900,'intended','charge','charge','idempotent',1,'b134e44c42f308aa464c77e8c8d4c78c',NULL,0,'[["plain-3","3.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967353,47,4294967322,0,1795649383969823,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["declined-1"],{}]','{"order":"declined-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967354,47,4294967322,0,1795649383969823,'intended','charge','charge','idempotent',1,'ea21c0c6aebbcc74c54bc48ebc10f7de',NULL,0,'[["declined-1","1.50","declined"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967355,14,4294967324,0,1795649383970441,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["broken-1"],{}]','{"order":"broken-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967356,14,4294967324,0,1795649383970441,'intended','charge','charge','idempotent',1,'5cac1fd594a05782d742cfa9b03ea668',NULL,0,'[["broken-1","1.50","broken"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967357,19,4294967328,0,1795649383970853,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["doubtful-1"],{}]','{"order":"doubtful-1","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967358,19,4294967328,0,1795649383970853,'intended','charge','charge','idempotent',1,'de8d36052a097095e7e1c1f1fac59013',NULL,0,'[["doubtful-1","1.50","doubtful"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967359,28,4294967342,0,1795649383986536,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.50"',NULL);
INSERT INTO "records" VALUES(4294967360,33,4294967304,0,1795649383987222,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.25"',NULL);
INSERT INTO "records" VALUES(4294967361,33,4294967304,0,1795649383987222,'intended','book','book','transactional',1,'04e0564ad6ee321e15609b83209a7a78',NULL,0,'[["plain-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967362,33,4294967304,0,1795649383987222,'intended','ship','ship','verified',1,'dcffd97c65a12ca57f011076ca830ea1',NULL,0,'[["plain-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967363,27,4294967306,0,1795649383987940,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"2.25"',NULL);
INSERT INTO "records" VALUES(4294967364,27,4294967306,0,1795649383987940,'intended','book','book','transactional',1,'546e0aed17fa4a75bcc9667e9b114526',NULL,0,'[["plain-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967365,27,4294967306,0,1795649383987940,'intended','ship','ship','verified',1,'85fdb01a8264279eeaa11471ed92605b',NULL,0,'[["plain-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967366,55,4294967308,0,1795649383988406,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"3.25"',NULL);
INSERT INTO "records" VALUES(4294967367,55,4294967308,0,1795649383988406,'intended','book','book','transactional',1,'d931d8ea42fbdc23b4b3c55f6b2cf76e',NULL,0,'[["plain-3"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967368,55,4294967308,0,1795649383988406,'intended','ship','ship','verified',1,'1c3ba537bf8fae12c1ed23e98bdafe49',NULL,0,'[["plain-3"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967369,47,4294967322,0,1795649383989609,'resulted','charge','charge','idempotent',1,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 62, in charge\n    raise Declined(\"no money\", 150)\napp.Declined: no money\n"}',0,NULL,NULL,'{"data":{"args":["no money"],"fields":{"cents":150,"reason":"no money"}},"message":"no money","type":"Declined"}');
INSERT INTO "records" VALUES(4294967371,14,4294967324,0,1795649383990635,'resulted','charge','charge','idempotent',1,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 64, in charge\n    raise ValueError(\"no such account\")\nValueError: no such account\n"}',0,NULL,NULL,'{"data":null,"message":"no such account","type":"ValueError"}');
INSERT INTO "records" VALUES(4294967372,19,4294967328,0,1795649383991449,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.50"',NULL);
INSERT INTO "records" VALUES(4294967373,19,4294967328,0,1795649383991449,'intended','book','book','transactional',1,'5b7114724a590fa39dfce37140fd6c02',NULL,0,'[["doubtful-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967374,19,4294967328,0,1795649383991449,'intended','ship','ship','verified',1,'f8120771976d4409706094c9ba4652ae',NULL,0,'[["doubtful-1"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967375,14,4294967326,0,1795649383992837,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["broken-2"],{}]','{"order":"broken-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967376,14,4294967326,0,1795649383992837,'intended','charge','charge','idempotent',1,'00540dff6e602982212d09eccb791fd5',NULL,0,'[["broken-2","1.50","broken"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967377,33,4294967304,0,1795649384008940,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-1"',NULL);
INSERT INTO "records" VALUES(4294967378,27,4294967306,0,1795649384011166,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-2"',NULL);
INSERT INTO "records" VALUES(4294967379,55,4294967308,0,1795649384011468,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-3"',NULL);
INSERT INTO "records" VALUES(4294967380,19,4294967328,0,1795649384011718,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"doubtful-1"',NULL);
INSERT INTO "records" VALUES(4294967381,14,4294967326,0,1795649384014579,'resulted','charge','charge','idempotent',1,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 64, in charge\n    raise ValueError(\"no such account\")\nValueError: no such account\n"}',0,NULL,NULL,'{"data":null,"message":"no such account","type":"ValueError"}');
INSERT INTO "records" VALUES(4294967382,55,4294967308,0,1795649384040943,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-3"',NULL);
INSERT INTO "records" VALUES(4294967383,55,4294967308,0,1795649384051917,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967384,55,4294967308,0,1795649384051917,'intended','text','text','at_most_once',1,'f0a4da9e0737856c3732775de4ef55b5',NULL,0,'[["plain-3","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967385,33,4294967304,0,1795649384052984,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-1"',NULL);
INSERT INTO "records" VALUES(4294967386,55,4294967308,0,1795649384054929,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967387,55,4294967308,0,1795649384054929,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["plain-3"],"spent":"3.25"}',NULL);
INSERT INTO "records" VALUES(4294967391,55,4294967389,0,1795649384055663,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(4294967392,55,4294967314,0,1795649384056642,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-6"],{}]','{"order":"plain-6","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967393,55,4294967314,0,1795649384056642,'intended','charge','charge','idempotent',1,'976dd192bb1f75c4d3036fcd0e12b6f2',NULL,0,'[["plain-6","6.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967394,33,4294967304,0,1795649384063896,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967395,33,4294967304,0,1795649384063896,'intended','text','text','at_most_once',1,'7b608dfc2aabcd422e9e48f3ab8b3855',NULL,0,'[["plain-1","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967396,55,4294967314,0,1795649384066270,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"6.25"',NULL);
INSERT INTO "records" VALUES(4294967397,55,4294967314,0,1795649384066270,'intended','book','book','transactional',1,'fa083971b11739075ce56bdfc66aca65',NULL,0,'[["plain-6"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967398,55,4294967314,0,1795649384066270,'intended','ship','ship','verified',1,'0407dbf2a07c7ae9f4608185f0a1b26e',NULL,0,'[["plain-6"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967399,27,4294967306,0,1795649384070365,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-2"',NULL);
INSERT INTO "records" VALUES(4294967400,33,4294967304,0,1795649384073759,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967401,33,4294967304,0,1795649384073759,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["plain-1"],"spent":"1.25"}',NULL);
INSERT INTO "records" VALUES(4294967405,33,4294967403,0,1795649384078667,'released',NULL,NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967406,33,4294967403,0,1795649384078667,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(4294967407,55,4294967314,0,1795649384080517,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-6"',NULL);
INSERT INTO "records" VALUES(4294967408,27,4294967306,0,1795649384085614,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967409,27,4294967306,0,1795649384085614,'intended','text','text','at_most_once',1,'369d6f19968309927276d11d2ad02ece',NULL,0,'[["plain-2","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967410,33,4294967310,0,1795649384086708,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-4"],{}]','{"order":"plain-4","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967411,33,4294967310,0,1795649384086708,'intended','charge','charge','idempotent',1,'cf73f7db1dc77f7323e2419ce69f6457',NULL,0,'[["plain-4","4.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967412,27,4294967306,0,1795649384091336,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967413,27,4294967306,0,1795649384091336,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["plain-2"],"spent":"2.25"}',NULL);
INSERT INTO "records" VALUES(4294967417,27,4294967415,0,1795649384092039,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(4294967418,33,4294967310,0,1795649384093018,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"4.25"',NULL);
INSERT INTO "records" VALUES(4294967419,33,4294967310,0,1795649384093018,'intended','book','book','transactional',1,'3209477b985f73b10fe8d13e905a7609',NULL,0,'[["plain-4"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967420,33,4294967310,0,1795649384093018,'intended','ship','ship','verified',1,'9d48827af5b2d427feb838e563dc832b',NULL,0,'[["plain-4"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967421,27,4294967312,0,1795649384101237,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-5"],{}]','{"order":"plain-5","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967422,27,4294967312,0,1795649384101237,'intended','charge','charge','idempotent',1,'616892eddefe88a34cf2974f1ff68b7a',NULL,0,'[["plain-5","5.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967423,55,4294967314,0,1795649384103312,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-6"',NULL);
INSERT INTO "records" VALUES(4294967424,33,4294967310,0,1795649384108242,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-4"',NULL);
INSERT INTO "records" VALUES(4294967425,27,4294967312,0,1795649384110005,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"5.25"',NULL);
INSERT INTO "records" VALUES(4294967426,27,4294967312,0,1795649384110005,'intended','book','book','transactional',1,'14b4a9759a8b585f96e2273524610718',NULL,0,'[["plain-5"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967427,27,4294967312,0,1795649384110005,'intended','ship','ship','verified',1,'74d84d28eb2ad2d9a3ea0e2869404fcb',NULL,0,'[["plain-5"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967428,27,4294967312,0,1795649384112100,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-5"',NULL);
INSERT INTO "records" VALUES(4294967429,19,4294967328,0,1795649384112786,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"doubtful-1"',NULL);
INSERT INTO "records" VALUES(4294967430,55,4294967314,0,1795649384113358,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967431,55,4294967314,0,1795649384113358,'intended','text','text','at_most_once',1,'c43b3deeb7a2a71f15e03919afd50d91',NULL,0,'[["plain-6","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967432,55,4294967314,0,1795649384116060,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967433,55,4294967314,0,1795649384116060,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967308,"version":2}',0,NULL,'{"orders":["plain-3","plain-6"],"spent":"9.50"}',NULL);
INSERT INTO "records" VALUES(4294967437,55,4294967435,0,1795649384116060,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967389,"version":2}',0,NULL,'{"alerts":2}',NULL);
INSERT INTO "records" VALUES(4294967438,55,4294967320,0,1795649384117159,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-9"],{}]','{"order":"plain-9","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967439,55,4294967320,0,1795649384117159,'intended','charge','charge','idempotent',1,'2b3549e975fa0609193ab8d47a8a9d29',NULL,0,'[["plain-9","9.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967440,27,4294967312,0,1795649384120527,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-5"',NULL);
INSERT INTO "records" VALUES(4294967441,55,4294967320,0,1795649384121854,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"9.25"',NULL);
INSERT INTO "records" VALUES(4294967442,55,4294967320,0,1795649384121854,'intended','book','book','transactional',1,'343b71c47bf4116cb85898f87bf3a42e',NULL,0,'[["plain-9"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967443,55,4294967320,0,1795649384121854,'intended','ship','ship','verified',1,'1d132e0c5ce4aefdd59b5c95b892cd28',NULL,0,'[["plain-9"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967444,19,4294967328,0,1795649384123206,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967445,19,4294967328,0,1795649384123206,'intended','text','text','at_most_once',1,'6f61b3e16bbaa7fb2ed78d7401cc1f1f',NULL,0,'[["doubtful-1","doubtful"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967446,55,4294967320,0,1795649384125349,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-9"',NULL);
INSERT INTO "records" VALUES(4294967447,19,4294967328,0,1795649384127492,'doubted','text','text','at_most_once',1,NULL,'{"ended":"ambiguous","settle":"hold","settle_at":null,"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 97, in text\n    raise ConnectionResetError(\"the line broke\")\nConnectionResetError: the line broke\n"}',0,NULL,NULL,'{"data":null,"message":"the line broke","type":"ConnectionResetError"}');
INSERT INTO "records" VALUES(4294967449,55,4294967320,0,1795649384130498,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-9"',NULL);
INSERT INTO "records" VALUES(4294967450,27,4294967312,0,1795649384130762,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967451,27,4294967312,0,1795649384130762,'intended','text','text','at_most_once',1,'8c35e4b3122c05bd466b5aee92393e27',NULL,0,'[["plain-5","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967452,27,4294967312,0,1795649384137361,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967453,27,4294967312,0,1795649384137361,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967306,"version":2}',0,NULL,'{"orders":["plain-2","plain-5"],"spent":"7.50"}',NULL);
INSERT INTO "records" VALUES(4294967457,27,4294967455,0,1795649384137361,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967415,"version":2}',0,NULL,'{"alerts":2}',NULL);
INSERT INTO "records" VALUES(4294967458,27,4294967318,0,1795649384139309,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-8"],{}]','{"order":"plain-8","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967459,27,4294967318,0,1795649384139309,'intended','charge','charge','idempotent',1,'606a065e295944314a556e22c04abc67',NULL,0,'[["plain-8","8.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967460,55,4294967320,0,1795649384140784,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967461,55,4294967320,0,1795649384140784,'intended','text','text','at_most_once',1,'33c5c7f6f5e0f2dd4f0eedff498d8142',NULL,0,'[["plain-9","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967462,27,4294967318,0,1795649384142016,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"8.25"',NULL);
INSERT INTO "records" VALUES(4294967463,27,4294967318,0,1795649384142016,'intended','book','book','transactional',1,'b17719e1b3ce601d4e2f7ba91bdbe535',NULL,0,'[["plain-8"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967464,27,4294967318,0,1795649384142016,'intended','ship','ship','verified',1,'bfd4e931616019d8d354cbb343204b91',NULL,0,'[["plain-8"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967465,55,4294967320,0,1795649384145838,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967466,55,4294967320,0,1795649384145838,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967314,"version":3}',0,NULL,'{"orders":["plain-3","plain-6","plain-9"],"spent":"18.75"}',NULL);
INSERT INTO "records" VALUES(4294967470,55,4294967468,0,1795649384145838,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967435,"version":3}',0,NULL,'{"alerts":3}',NULL);
INSERT INTO "records" VALUES(4294967471,27,4294967318,0,1795649384146669,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-8"',NULL);
INSERT INTO "records" VALUES(4294967472,33,4294967310,0,1795649384150725,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-4"',NULL);
INSERT INTO "records" VALUES(4294967473,33,4294967310,0,1795649384167300,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967474,33,4294967310,0,1795649384167300,'intended','text','text','at_most_once',1,'df7378f558795140b199168fb115d373',NULL,0,'[["plain-4","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967475,27,4294967318,0,1795649384173385,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-8"',NULL);
INSERT INTO "records" VALUES(4294967476,33,4294967310,0,1795649384174443,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967477,33,4294967310,0,1795649384174443,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967304,"version":2}',0,NULL,'{"orders":["plain-1","plain-4"],"spent":"5.50"}',NULL);
INSERT INTO "records" VALUES(4294967481,33,4294967479,0,1795649384174443,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967403,"version":2}',0,NULL,'{"alerts":2}',NULL);
INSERT INTO "records" VALUES(4294967482,33,4294967316,0,1795649384175430,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["plain-7"],{}]','{"order":"plain-7","status":"known"}',NULL);
INSERT INTO "records" VALUES(4294967483,33,4294967316,0,1795649384175430,'intended','charge','charge','idempotent',1,'257b7454d75e74fa28a23df3b018f831',NULL,0,'[["plain-7","7.25","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967484,33,4294967316,0,1795649384178581,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"7.25"',NULL);
INSERT INTO "records" VALUES(4294967485,33,4294967316,0,1795649384178581,'intended','book','book','transactional',1,'4b238891ddb2ba3c051fc8f69ba07003',NULL,0,'[["plain-7"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967486,33,4294967316,0,1795649384178581,'intended','ship','ship','verified',1,'3b6a5790b010946212b41d6ab65cf157',NULL,0,'[["plain-7"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967487,33,4294967316,0,1795649384182282,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"plain-7"',NULL);
INSERT INTO "records" VALUES(4294967488,27,4294967318,0,1795649384183555,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967489,27,4294967318,0,1795649384183555,'intended','text','text','at_most_once',1,'726cbec455a37c2862d05835fa5615e3',NULL,0,'[["plain-8","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967490,27,4294967318,0,1795649384188972,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967491,27,4294967318,0,1795649384188972,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967312,"version":3}',0,NULL,'{"orders":["plain-2","plain-5","plain-8"],"spent":"15.75"}',NULL);
INSERT INTO "records" VALUES(4294967495,27,4294967493,0,1795649384188972,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967455,"version":3}',0,NULL,'{"alerts":3}',NULL);
INSERT INTO "records" VALUES(4294967496,33,4294967316,0,1795649384193764,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"plain-7"',NULL);
INSERT INTO "records" VALUES(4294967497,33,4294967316,0,1795649384203772,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(4294967498,33,4294967316,0,1795649384203772,'intended','text','text','at_most_once',1,'81b457cec45ac9f1ed82418f7f225f3f',NULL,0,'[["plain-7","plain"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(4294967499,33,4294967316,0,1795649384205569,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(4294967500,33,4294967316,0,1795649384205569,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967310,"version":3}',0,NULL,'{"orders":["plain-1","plain-4","plain-7"],"spent":"12.75"}',NULL);
INSERT INTO "records" VALUES(4294967504,33,4294967502,0,1795649384205569,'changed',NULL,NULL,NULL,0,NULL,'{"before":4294967479,"version":3}',0,NULL,'{"alerts":3}',NULL);
INSERT INTO "records" VALUES(21474836481,22,4294967338,0,1795649388828910,'cancelled',NULL,NULL,NULL,0,NULL,'{"by":"bob"}',0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(25769803777,14,4294967326,1,1795649389702913,'retried',NULL,NULL,NULL,0,NULL,'{"began":1795649383990635,"by":"bob"}',0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(30064771073,14,4294967326,1,1795649391035793,'resulted','look_up','look_up','read',1,NULL,'{"first":1795649383992837}',0,'[["broken-2"],{}]','{"order":"broken-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(30064771074,14,4294967326,1,1795649391035793,'intended','charge','charge','idempotent',2,'00540dff6e602982212d09eccb791fd5',NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(30064771075,14,4294967326,1,1795649391086945,'resulted','charge','charge','idempotent',2,NULL,'{"traceback":"Traceback (most recent call last):\n  File \"/history/app.py\", line 64, in charge\n    raise ValueError(\"no such account\")\nValueError: no such account\n"}',0,NULL,NULL,'{"data":null,"message":"no such account","type":"ValueError"}');
INSERT INTO "records" VALUES(30064771076,60,4294967334,0,1795649391089508,'received','signal.approval','approval',NULL,0,NULL,'{"about":"waiting-2","by":"alice","id":"12884901889","sent":1795649386954447}',0,NULL,'{"ok":true}',NULL);
INSERT INTO "records" VALUES(30064771077,60,4294967334,0,1795649391090281,'resulted','look_up','look_up','read',1,NULL,NULL,0,'[["waiting-2"],{}]','{"order":"waiting-2","status":"known"}',NULL);
INSERT INTO "records" VALUES(30064771078,60,4294967334,0,1795649391090281,'intended','charge','charge','idempotent',1,'5cf9aa2bd346a815e1d3b9bfe4d6daa3',NULL,0,'[["waiting-2","1.50","waiting"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771079,60,4294967334,0,1795649391091862,'resulted','charge','charge','idempotent',1,NULL,NULL,0,NULL,'"1.50"',NULL);
INSERT INTO "records" VALUES(30064771080,60,4294967334,0,1795649391091862,'intended','book','book','transactional',1,'b2c39c3ee3cffd2a49a77332ce7b7f30',NULL,0,'[["waiting-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771081,60,4294967334,0,1795649391091862,'intended','ship','ship','verified',1,'4cc5f8639f65195faa5c240c9e32f6bd',NULL,0,'[["waiting-2"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771082,60,4294967334,0,1795649391095722,'resulted','ship','ship','verified',1,NULL,NULL,0,NULL,'"waiting-2"',NULL);
INSERT INTO "records" VALUES(30064771083,60,4294967334,0,1795649391115472,'resulted','book','book','transactional',1,NULL,NULL,0,NULL,'"waiting-2"',NULL);
INSERT INTO "records" VALUES(30064771084,60,4294967334,0,1795649391125781,'fired','timer',NULL,NULL,0,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "records" VALUES(30064771085,60,4294967334,0,1795649391125781,'intended','text','text','at_most_once',1,'e40bdcf81a863852b152e3ed9446a508',NULL,0,'[["waiting-2","waiting"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(30064771086,60,4294967334,0,1795649391127899,'resulted','text','text','at_most_once',1,NULL,NULL,0,NULL,'"sent"',NULL);
INSERT INTO "records" VALUES(30064771087,60,4294967334,0,1795649391127899,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"orders":["waiting-2"],"spent":"1.50"}',NULL);
INSERT INTO "records" VALUES(30064771091,60,30064771089,0,1795649391128496,'changed',NULL,NULL,NULL,0,NULL,'{"before":0,"version":1}',0,NULL,'{"alerts":1}',NULL);
INSERT INTO "records" VALUES(34359738371,63,34359738370,0,1795649392392791,'intended','charge','charge','idempotent',1,'d7cc41e593a744c66ed3f639d8fb58d2',NULL,0,'[["struck-1","1.50","struck"],{}]',NULL,NULL);
INSERT INTO "records" VALUES(34359738372,63,34359738370,0,1795649392392791,'intended','strike','strike','at_most_once',1,'324512d76e2b57a9b04f32c0bf0da268',NULL,0,'[["struck-1"],{}]',NULL,NULL);
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
INSERT INTO "runs" VALUES(4294967304,33,'fulfil','c1',4294967303,NULL,'done',0,1795649383948826,1795649383951563,1795649384073759,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967306,27,'fulfil','c2',4294967305,NULL,'done',0,1795649383948826,1795649383951563,1795649384091336,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967308,55,'fulfil','c0',4294967307,NULL,'done',0,1795649383948826,1795649383951563,1795649384054929,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967310,33,'fulfil','c1',4294967309,NULL,'done',0,1795649383948826,1795649384073759,1795649384174443,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967312,27,'fulfil','c2',4294967311,NULL,'done',0,1795649383948826,1795649384091336,1795649384137361,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967314,55,'fulfil','c0',4294967313,NULL,'done',0,1795649383948826,1795649384054929,1795649384116060,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967316,33,'fulfil','c1',4294967315,NULL,'done',0,1795649383948826,1795649384174443,1795649384205569,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967318,27,'fulfil','c2',4294967317,NULL,'done',0,1795649383948826,1795649384137361,1795649384188972,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967320,55,'fulfil','c0',4294967319,NULL,'done',0,1795649383948826,1795649384116060,1795649384145838,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967322,47,'fulfil','dora',4294967321,NULL,'done',0,1795649383948826,1795649383951563,1795649383989609,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967324,14,'fulfil','bert',4294967323,NULL,'failed',0,1795649383948826,1795649383951563,1795649383990635,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"no such account","tool":"charge","type":"ValueError"}');
INSERT INTO "runs" VALUES(4294967326,14,'fulfil','bert',4294967325,NULL,'failed',1,1795649383948826,1795649391035793,1795649391086945,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"no such account","tool":"charge","type":"ValueError"}');
INSERT INTO "runs" VALUES(4294967328,19,'fulfil','dick',4294967327,4294967328,'in_doubt',0,1795649383948826,1795649383951563,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967330,19,'fulfil','dick',4294967329,4294967330,'queued',0,1795649383948826,NULL,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967332,35,'fulfil','wanda',4294967331,4294967332,'waiting',0,1795649383948826,1795649383951563,NULL,NULL,'[["signal.approval","receive","approval","waiting-1"]]',NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967334,60,'fulfil','willy',4294967333,NULL,'done',0,1795649383948826,1795649383951563,1795649391127899,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967336,35,'fulfil','wanda',4294967335,4294967336,'queued',0,1795649383948826,NULL,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967338,22,'fulfil','cora',4294967337,NULL,'cancelled',0,1795649383948826,1795649383951563,1795649391035793,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"the run was cancelled","type":"Cancelled"}');
INSERT INTO "runs" VALUES(4294967340,55,'fulfil','anna',4294967339,4294967340,'waiting',0,1795649383948826,1795649383951563,NULL,NULL,'[["ask.desk","ask","desk","anna"]]',NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967342,28,'fulfil','ed',4294967341,NULL,'diverged',0,1795649383948826,1795649383951563,1795649391084364,NULL,NULL,NULL,'4d0c780448ae8af6',0,'{"data":null,"message":"step 28-1-46/charge is recorded with the arguments [[\"edited-1\",\"1.50\",\"edited\"],{}]\nand the handler now asks for it with           [[\"edited\",\"1.50\",\"edited\"],{}]. The run is kept and tried again when the agent''s code changes. Known causes: steps named by position in a changed loop, a branch on something that is not recorded (wall clock, environment, global), coroutines given to asyncio.as_completed (they start in set order: use ctx.as_completed)","type":"Diverged"}');
INSERT INTO "runs" VALUES(4294967345,55,'desk','anna',4294967344,4294967345,'waiting',0,1795649383951563,1795649383964111,NULL,NULL,'[["signal.answer","receive","answer","asking-1"]]','[4294967340,"ask.desk","fulfil","anna"]','4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967389,55,'watch','c0',4294967388,NULL,'done',0,1795649384054929,1795649384055663,1795649384055663,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967403,33,'watch','c1',4294967402,NULL,'waiting',0,1795649384073759,1795649384078667,NULL,NULL,'[["signal.seen","receive","seen",null]]',NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967415,27,'watch','c2',4294967414,NULL,'done',0,1795649384091336,1795649384092039,1795649384092039,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967435,55,'watch','c0',4294967434,NULL,'done',0,1795649384116060,1795649384116060,1795649384116060,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967455,27,'watch','c2',4294967454,NULL,'done',0,1795649384137361,1795649384137361,1795649384137361,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967468,55,'watch','c0',4294967467,NULL,'done',0,1795649384145838,1795649384145838,1795649384145838,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967479,33,'watch','c1',4294967478,NULL,'done',0,1795649384174443,1795649384174443,1795649384174443,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967493,27,'watch','c2',4294967492,NULL,'done',0,1795649384188972,1795649384188972,1795649384188972,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(4294967502,33,'watch','c1',4294967501,NULL,'done',0,1795649384205569,1795649384205569,1795649384205569,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(30064771089,60,'watch','willy',30064771088,NULL,'done',0,1795649391127899,1795649391128496,1795649391128496,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
INSERT INTO "runs" VALUES(34359738370,63,'fulfil','sue',34359738369,34359738370,'running',0,1795649392392549,1795649392392791,NULL,NULL,NULL,NULL,'4d0c780448ae8af6',0,NULL);
CREATE TABLE seen (
  "source" TEXT NOT NULL,
  "id" TEXT NOT NULL,
  "partition" INTEGER NOT NULL,
  "at" INTEGER NOT NULL,
  PRIMARY KEY ("source", "id")
) STRICT, WITHOUT ROWID;
INSERT INTO "seen" VALUES('orders','asking-1',55,1795649383948826);
INSERT INTO "seen" VALUES('orders','behind-a-doubt',19,1795649383948826);
INSERT INTO "seen" VALUES('orders','behind-a-wait',35,1795649383948826);
INSERT INTO "seen" VALUES('orders','broken-1',14,1795649383948826);
INSERT INTO "seen" VALUES('orders','broken-2',14,1795649383948826);
INSERT INTO "seen" VALUES('orders','cancelled-1',22,1795649383948826);
INSERT INTO "seen" VALUES('orders','declined-1',47,1795649383948826);
INSERT INTO "seen" VALUES('orders','doubtful-1',19,1795649383948826);
INSERT INTO "seen" VALUES('orders','edited-1',28,1795649383948826);
INSERT INTO "seen" VALUES('orders','plain-1',33,1795649383948826);
INSERT INTO "seen" VALUES('orders','plain-2',27,1795649383948826);
INSERT INTO "seen" VALUES('orders','plain-3',55,1795649383948826);
INSERT INTO "seen" VALUES('orders','plain-4',33,1795649383948826);
INSERT INTO "seen" VALUES('orders','plain-5',27,1795649383948826);
INSERT INTO "seen" VALUES('orders','plain-6',55,1795649383948826);
INSERT INTO "seen" VALUES('orders','plain-7',33,1795649383948826);
INSERT INTO "seen" VALUES('orders','plain-8',27,1795649383948826);
INSERT INTO "seen" VALUES('orders','plain-9',55,1795649383948826);
INSERT INTO "seen" VALUES('orders','struck-1',63,1795649392392549);
INSERT INTO "seen" VALUES('orders','waiting-1',35,1795649383948826);
INSERT INTO "seen" VALUES('orders','waiting-2',60,1795649383948826);
INSERT INTO "seen" VALUES('signals','["fulfil","nora","n1"]',11,1795649385978253);
CREATE TABLE sinks (
  "sink" TEXT NOT NULL,
  "row" INTEGER NOT NULL,
  "position" TEXT,
  PRIMARY KEY ("sink")
) STRICT, WITHOUT ROWID;
INSERT INTO "sinks" VALUES('dead_letters.sink',3,'{"inode":2450426,"offset":612,"path":"/history/letters.jsonl"}');
INSERT INTO "sinks" VALUES('doubts.sink',1,'{"inode":2450425,"offset":335,"path":"/history/doubts.jsonl"}');
INSERT INTO "sinks" VALUES('fulfil.output.sink',11,'{"inode":2450424,"offset":838,"path":"/history/receipts.jsonl"}');
INSERT INTO "sinks" VALUES('large',1,'{"inode":2450428,"offset":50,"path":"/history/large.jsonl"}');
CREATE TABLE sources (
  "source" TEXT NOT NULL,
  "position" TEXT,
  "events" INTEGER NOT NULL,
  "duplicates" INTEGER NOT NULL,
  "rejected" INTEGER NOT NULL,
  "ended" INTEGER NOT NULL,
  PRIMARY KEY ("source")
) STRICT, WITHOUT ROWID;
INSERT INTO "sources" VALUES('orders','{"head":"c84e539e8f5e148f","inode":2450215,"line":25,"mtime":1795649391172192554,"offset":1598}',21,1,3,0);
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
INSERT INTO "states" VALUES('fulfil','c0',55,3,4294967320,4294967466,0,NULL);
INSERT INTO "states" VALUES('watch','c0',55,3,4294967468,4294967470,0,NULL);
INSERT INTO "states" VALUES('fulfil','c1',33,3,4294967316,4294967500,0,NULL);
INSERT INTO "states" VALUES('watch','c1',33,3,4294967502,4294967504,0,NULL);
INSERT INTO "states" VALUES('fulfil','c2',27,3,4294967318,4294967491,0,NULL);
INSERT INTO "states" VALUES('watch','c2',27,3,4294967493,4294967495,0,NULL);
INSERT INTO "states" VALUES('fulfil','willy',60,1,4294967334,30064771087,0,NULL);
INSERT INTO "states" VALUES('watch','willy',60,1,30064771089,30064771091,0,NULL);
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
CREATE VIEW states_view AS SELECT s.agent, s."key", s.version, runs.id AS run, coalesce(s.payload, records.result) AS state FROM states s LEFT JOIN records ON records.record = s.record LEFT JOIN runs ON runs.run = s.run;
COMMIT;
