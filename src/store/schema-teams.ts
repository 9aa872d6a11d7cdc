export interface TeamSchema {
  team: { name: string };
  dag_bundle_team: {
    /** Of a bundle; each belongs to one team at most. */
    dag_bundle_name: string;
    team_name: string;
  };
}
