import { sql, type RawBuilder } from "kysely";
import type { AssetChange } from "./asset-changes.ts";

/** Of an update through the API: the teams of who made it, and whom it is for, as `access_control` of the request says. */
export interface ApiAccess {
  teams: readonly string[];
  /** null: any team. */
  consumerTeams: readonly string[] | null;
  allowGlobal: boolean;
}

/**
 * Airflow's `AssetManager._filter_dags_by_team`: both sides decide who hears of an update. `producer` is one row about who
 * made it, and needs the CTE `updated`; `mayListen` is about a DAG `dag` whose schedule names the asset by `reference`.
 */
export function teamRule({ api, source }: AssetChange): {
  producer: RawBuilder<unknown>;
  mayListen: RawBuilder<boolean>;
} {
  const producer = sql`
    select
      coalesce(${api?.teams ?? null}::text[], array(
        select owner.team_name from dag join dag_bundle_team owner on owner.dag_bundle_name = dag.bundle_name
        where dag.dag_id = ${source?.dagId ?? null})) as teams,
      coalesce(${api?.consumerTeams ?? null}::text[], outlet.allow_consumer_teams) as consumers,
      coalesce(${api?.allowGlobal ?? null}::boolean, outlet.allow_global_consumers, true) as to_all
    from updated left join task_outlet_asset_reference outlet
      on outlet.asset_id = updated.id and outlet.dag_id = ${source?.dagId ?? null} and outlet.task_id = ${source?.taskId ?? null}`;
  const consumer = sql`(
    select owner.team_name from dag_bundle_team owner where owner.dag_bundle_name = dag.bundle_name)`;
  const mayListen = sql<boolean>`(
    select case
      when consumer.team is null then producer.to_all
      when consumer.team = any(producer.teams) then true
      when cardinality(producer.teams) = 0 then ${api === undefined}::boolean and coalesce(reference.allow_global_producers, true)
      else producer.teams && coalesce(reference.allow_producer_teams, '{}')
    end and (consumer.team is null or consumer.team = any(producer.teams)
      or producer.consumers is null or consumer.team = any(producer.consumers))
    from producer, (select ${consumer} as team) as consumer)`;
  return { producer, mayListen };
}
