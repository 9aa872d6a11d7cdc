import { expect, it } from "vitest";
import { readConnectionValue } from "./connection-value.ts";

/** By Airflow 3.3.2's `Connection(uri=…)` and `Connection.from_json`: type, host, schema, login, password, port, extra. */
const BY_AIRFLOW: [value: string, fields: (string | number | null)[]][] = [
  [
    "postgresql://user:p%40ss@db.example.com:5432/name",
    ["postgres", "db.example.com", "name", "user", "p@ss", 5432, null],
  ],
  ["http://", ["http", "", "", null, null, null, null]],
  [
    "mysql://Host/s%2Fchema?a=1&b=x+y&c=%7B%22d%22%3A%20%5B1.0%5D%7D&e=",
    ["mysql", "host", "s/chema", null, null, null, '{"a": 1, "b": "x y", "c": {"d": [1.0]}, "e": ""}'],
  ],
  ["aws://?__extra__=%7B%22region%22%3A+%22eu%22%7D", ["aws", "", "", null, null, null, '{"region": "eu"}']],
  [
    "http://https%3A%2F%2Fapi.example.com%2FV1:8080",
    ["http", "https://api.example.com/V1", "", null, null, 8080, null],
  ],
  ["http://https://user:pw@Api.example.com:443/p", ["http", "https://api.example.com", "p", "user", "pw", 443, null]],
  ["google-cloud-platform://:secret@", ["google_cloud_platform", "", "", "", "secret", null, null]],
  ["sqlite:///x/y.db", ["sqlite", "", "x/y.db", null, null, null, null]],
  ["ftp://u@h#frag", ["ftp", "h", "", "u", null, null, null]],
  ["spark://k8s%3A%2F%2Fhost", ["spark", "k8s://host", "", null, null, null, null]],
  ["a://b:0/?x", ["a", "b", "", null, null, 0, '{"x": ""}']],
  ["http://[::1]:80/", ["http", "::1", "", null, null, 80, null]],
  [
    "smtp://h:25/?starttls=false&n=null&t=text",
    ["smtp", "h", "", null, null, 25, '{"starttls": false, "n": null, "t": "text"}'],
  ],
  [
    '{"conn_type": "google-cloud", "host": "h", "port": "12", "extra": {"a": 1.0, "b": "\\u00fc"}}',
    ["google_cloud", "h", null, null, null, 12, '{"a": 1.0, "b": "\\u00fc"}'],
  ],
  [
    '{"conn_type": "postgresql", "login": "l", "password": "p", "schema": "s", "extra": "{\\"x\\": 1}"}',
    ["postgres", null, "s", "l", "p", null, '{"x": 1}'],
  ],
  ['{"host": "only"}', [null, "only", null, null, null, null, null]],
];

it.each(BY_AIRFLOW)("%s is read as Airflow reads it", (value, fields) => {
  expect(Object.values(readConnectionValue(value))).toEqual(fields);
});

it.each(["a://b://c://d", "a://u@b://c", "a://h:port"])("%s is none", (value) => {
  expect(() => readConnectionValue(value)).toThrow();
});
