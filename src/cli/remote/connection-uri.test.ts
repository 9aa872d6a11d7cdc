import { expect, it } from "vitest";
import { connectionUri, parseConnectionUri, type ConnectionFields } from "./connection-uri.ts";

/** A URI, what `airflow.models.connection.Connection` 3.3.2 makes of it (with null for ""), and what its `get_uri` then writes. */
const VECTORS: [string, Omit<ConnectionFields, "description">, string][] = [
  [
    "postgres://login:pw@host:5432/db",
    { conn_type: "postgres", host: "host", schema: "db", login: "login", password: "pw", port: 5432, extra: null },
    "postgres://login:pw@host:5432/db",
  ],
  [
    "postgresql://Host.Example/db",
    { conn_type: "postgres", host: "host.example", schema: "db", login: null, password: null, port: null, extra: null },
    "postgres://host.example/db",
  ],
  [
    "my-type://us%40er:p%2Fw@Host:80/sch?a=1&b=x",
    {
      conn_type: "my_type",
      host: "host",
      schema: "sch",
      login: "us@er",
      password: "p/w",
      port: 80,
      extra: '{"a": 1, "b": "x"}',
    },
    "my-type://us%40er:p%2Fw@host:80/sch?__extra__=%7B%22a%22%3A+1%2C+%22b%22%3A+%22x%22%7D",
  ],
  [
    "http://https://api.example.com:443/path",
    {
      conn_type: "http",
      host: "https://api.example.com",
      schema: "path",
      login: null,
      password: null,
      port: 443,
      extra: null,
    },
    "http://https://api.example.com:443/path",
  ],
  [
    "aws://?region_name=eu%2Dwest",
    {
      conn_type: "aws",
      host: null,
      schema: null,
      login: null,
      password: null,
      port: null,
      extra: '{"region_name": "eu-west"}',
    },
    "aws:///?region_name=eu-west",
  ],
  [
    "fs:///tmp%2Fx",
    { conn_type: "fs", host: null, schema: "tmp/x", login: null, password: null, port: null, extra: null },
    "fs:///tmp%2Fx",
  ],
  [
    "x://:onlypw@h",
    { conn_type: "x", host: "h", schema: null, login: null, password: "onlypw", port: null, extra: null },
    "x://:onlypw@h",
  ],
  [
    "x://user@",
    { conn_type: "x", host: null, schema: null, login: "user", password: null, port: null, extra: null },
    "x://user@",
  ],
  [
    "google-cloud-platform://?__extra__=%7B%22a%22%3A+%5B1%2C+2%5D%7D",
    {
      conn_type: "google_cloud_platform",
      host: null,
      schema: null,
      login: null,
      password: null,
      port: null,
      extra: '{"a": [1, 2]}',
    },
    "google-cloud-platform:///?__extra__=%7B%22a%22%3A+%5B1%2C+2%5D%7D",
  ],
  [
    "sqlite://%2Ftmp%2Fdb.sqlite",
    { conn_type: "sqlite", host: "/tmp/db.sqlite", schema: null, login: null, password: null, port: null, extra: null },
    "sqlite://%2Ftmp%2Fdb.sqlite",
  ],
  [
    "http://[::1]:8080/s",
    { conn_type: "http", host: "::1", schema: "s", login: null, password: null, port: 8080, extra: null },
    "http://%3A%3A1:8080/s",
  ],
  [
    "spark://spark%3A%2F%2Fmaster:7077/?deploy-mode=cluster",
    {
      conn_type: "spark",
      host: "spark://master",
      schema: null,
      login: null,
      password: null,
      port: 7077,
      extra: '{"deploy-mode": "cluster"}',
    },
    "spark://spark%3A%2F%2Fmaster:7077/?deploy-mode=cluster",
  ],
  [
    "mongo://a:b@h/?srv=true&n=1.5&t=text&e=",
    {
      conn_type: "mongo",
      host: "h",
      schema: null,
      login: "a",
      password: "b",
      port: null,
      extra: '{"srv": true, "n": 1.5, "t": "text", "e": ""}',
    },
    "mongo://a:b@h/?__extra__=%7B%22srv%22%3A+true%2C+%22n%22%3A+1.5%2C+%22t%22%3A+%22text%22%2C+%22e%22%3A+%22%22%7D",
  ],
  [
    "x://h/?a=b+c&d=%C3%BC",
    {
      conn_type: "x",
      host: "h",
      schema: null,
      login: null,
      password: null,
      port: null,
      extra: '{"a": "b c", "d": "\\u00fc"}',
    },
    "x://h/?a=b+c&d=%C3%BC",
  ],
  [
    "ftp://h:21#frag",
    { conn_type: "ftp", host: "h", schema: null, login: null, password: null, port: 21, extra: null },
    "ftp://h:21",
  ],
  [
    "x://h?flat=yes",
    { conn_type: "x", host: "h", schema: null, login: null, password: null, port: null, extra: '{"flat": "yes"}' },
    "x://h/?flat=yes",
  ],
];

it.each(VECTORS)("reads and writes %s as Airflow does", (uri, fields, written) => {
  expect(parseConnectionUri(uri)).toEqual(fields);
  expect(connectionUri(parseConnectionUri(uri))).toBe(written);
});

it.each(["nonsense", "a://b://c://d", "x://u@h://y", "x://h:port", "x://h:70000", "x://%zz@h"])("refuses %s", (uri) => {
  expect(() => parseConnectionUri(uri)).toThrow(/^(is not|has) /);
});
