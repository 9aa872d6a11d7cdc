echo "hello $WHO {{ run_id }}"
