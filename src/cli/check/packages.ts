/** Distributions whose name is not their module's, by the longest module name. */
const DISTRIBUTIONS: Readonly<Record<string, string>> = {
  attr: "attrs",
  bs4: "beautifulsoup4",
  Crypto: "pycryptodome",
  cv2: "opencv-python",
  dateutil: "python-dateutil",
  docx: "python-docx",
  dotenv: "python-dotenv",
  fitz: "PyMuPDF",
  git: "GitPython",
  jose: "python-jose",
  jwt: "PyJWT",
  magic: "python-magic",
  MySQLdb: "mysqlclient",
  OpenSSL: "pyOpenSSL",
  PIL: "pillow",
  psycopg2: "psycopg2-binary",
  serial: "pyserial",
  skimage: "scikit-image",
  sklearn: "scikit-learn",
  slack: "slack-sdk",
  snowflake: "snowflake-connector-python",
  yaml: "PyYAML",
};

/** Providers of two words: `airflow.providers.apache.spark`. */
const PROVIDER_FAMILIES = new Set(["apache", "atlassian", "cncf", "common", "dbt", "microsoft"]);

/** What a module that is missing comes with, as pip knows it; null where no package brings it: it was Airflow 2's. */
export function packageOf(module: string): string | null {
  const [first = "", second = "", third = "", fourth = ""] = module.split(".");
  if (first === "airflow") {
    if (second !== "providers" || third === "") return null;
    const words = PROVIDER_FAMILIES.has(third) && fourth !== "" ? [third, fourth] : [third];
    return `apache-airflow-providers-${words.join("-").replaceAll("_", "-")}`;
  }
  if (first === "google" && second === "cloud" && third !== "") return `google-cloud-${third.replaceAll("_", "-")}`;
  if (first === "azure" && second !== "") return `azure-${[second, third].filter(Boolean).join("-")}`;
  return DISTRIBUTIONS[first] ?? first.replaceAll("_", "-");
}
