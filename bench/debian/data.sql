-- A table filled, indexed, joined with itself, changed, and checked.
create table t(id integer primary key, a integer, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
insert into t select i, (i * 7919) % 10007, 'row ' || (i * 31 % 997) from n;
create index ta on t(a);
select count(*), sum(x.a * y.a) from t x join t y on y.a = x.id where x.b < 'row 5';
update t set b = b || '!' where a % 3 = 0;
delete from t where a % 5 = 0;
select b, count(*), max(a) from t group by b order by 2 desc, 1 limit 5;
pragma integrity_check;
