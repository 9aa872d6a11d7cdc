/**
 * leoflow.conf, written at every start; a user's own lines in postgresql.conf win. Small memory first: Lite idles at
 * 300 MB in all, and its hot tables are a few megabytes. Commits stay synchronous (0.1 ms with fdatasync on an SSD).
 */
const SETTINGS: Record<string, string> = {
  // UNIX socket only.
  listen_addresses: "",
  max_connections: "60",
  shared_buffers: "48MB",
  effective_cache_size: "512MB",
  work_mem: "8MB",
  maintenance_work_mem: "32MB",
  huge_pages: "off",
  random_page_cost: "1.1",
  // One machine, short statements: parallel plans, JIT and I/O workers would cost processes and gain nothing.
  jit: "off",
  io_method: "sync",
  max_worker_processes: "2",
  max_parallel_workers: "0",
  max_parallel_workers_per_gather: "0",
  // No replicas. A backup is a pg_dump.
  wal_level: "minimal",
  max_wal_senders: "0",
  max_logical_replication_workers: "0",
  synchronous_commit: "on",
  min_wal_size: "64MB",
  max_wal_size: "512MB",
  checkpoint_timeout: "15min",
  checkpoint_completion_target: "0.9",
  autovacuum_worker_slots: "2",
  autovacuum_max_workers: "2",
  // Hot queue tables turn over quickly; vacuum them before they bloat, at the default gentle cost.
  autovacuum_vacuum_scale_factor: "0.05",
  autovacuum_vacuum_insert_scale_factor: "0.2",
  autovacuum_naptime: "30s",
  // The password is 190 random bits: stretching it only slows down every connect.
  scram_iterations: "1",
  timezone: "UTC",
  log_timezone: "UTC",
  log_checkpoints: "off",
  log_line_prefix: "%m [%p] ",
  lc_messages: "C",
  default_text_search_config: "pg_catalog.simple",
};

export const POSTGRESQL_CONF = `# Leoflow writes leoflow.conf at every start. Settings below the next line are yours and win.
include 'leoflow.conf'
`;

export const PG_HBA_CONF = `# TYPE  DATABASE  USER  METHOD
local   all       all   scram-sha-256
`;

export function leoflowConf(socketDir: string, changes: Record<string, string> = {}): string {
  const all = { ...SETTINGS, unix_socket_directories: socketDir, unix_socket_permissions: "0700", ...changes };
  const lines = Object.entries(all).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'`);
  return `# Written by Leoflow at every start; put your own settings into postgresql.conf.\n${lines.join("\n")}\n`;
}
