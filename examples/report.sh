echo "run {{ run_id }} of {{ dag.dag_id }}"
echo "the greeting has $WORDS words"
