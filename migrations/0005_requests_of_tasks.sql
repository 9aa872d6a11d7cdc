-- What a person is asked goes with the task instance that asks, and is its own under whatever id.

delete from hitl_detail where not exists (select from task_instance ti where ti.id = hitl_detail.ti_id);
alter table hitl_detail add foreign key (ti_id) references task_instance (id) on delete cascade on update cascade;
