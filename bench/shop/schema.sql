-- SPDX-License-Identifier: GPL-2.0
-- schema.sql - the bookshop's tables and what is in them, the same in every run: TPC-W's entities (version 1.8, clause 1.4)
-- with fewer columns, 1000 items and 2880 customers.

create table author (a_id int primary key, a_fname text, a_lname text, a_bio text);
create table item (i_id int primary key, i_title text, i_a_id int references author, i_pub_date date, i_publisher text,
	i_subject int, i_desc text, i_related int[], i_srp numeric(9, 2), i_cost numeric(9, 2), i_stock int, i_isbn text, i_page int);
create table address (addr_id int primary key, addr_street text, addr_city text, addr_zip text, addr_country text);
create table customer (c_id int primary key, c_uname text, c_fname text, c_lname text, c_addr_id int references address,
	c_phone text, c_email text, c_discount numeric(3, 2), c_data text);
create table orders (o_id serial primary key, o_c_id int references customer, o_date timestamp, o_total numeric(11, 2),
	o_ship_addr_id int references address, o_status text);
create table order_line (ol_o_id int references orders, ol_i_id int references item, ol_qty int, ol_discount numeric(3, 2),
	primary key (ol_o_id, ol_i_id));
create table cc_xacts (cx_o_id int primary key references orders, cx_type text, cx_num text, cx_amount numeric(11, 2),
	cx_date timestamp);
create table cart_line (scl_c_id int references customer, scl_i_id int references item, scl_qty int,
	primary key (scl_c_id, scl_i_id));

create function prose(seed int, bytes int) returns text language sql immutable as
	$$ select left(string_agg(md5((seed * 31 + i)::text), ' '), bytes) from generate_series(0, bytes / 33) i $$;

insert into author select i, 'First' || i, left(md5(i::text), 8), prose(i, 300) from generate_series(1, 250) i;
insert into item select i, left(md5((i * 3)::text), 2) || ' ' || prose(i, 40), i % 250 + 1, date '2000-01-01' + i * 7 % 9000,
	'Publisher ' || i % 60, i % 24, prose(i, 400), array[i % 1000 + 1, i * 7 % 1000 + 1, i * 11 % 1000 + 1, i * 13 % 1000 + 1,
	i * 17 % 1000 + 1], 10 + i % 90, 8 + i % 80, 10 + i % 20, left(md5(i::text), 13), 100 + i % 900 from generate_series(1, 1000) i;
insert into address select i, i || ' Street', 'City ' || i % 300, (10000 + i)::text, 'Country ' || i % 92 from generate_series(1, 5760) i;
insert into customer select i, 'user' || i, 'First' || i, left(md5(i::text), 10), i * 2, (100000 + i)::text, i || '@example.org',
	i % 50 / 100.0, prose(i, 200) from generate_series(1, 2880) i;
insert into orders (o_c_id, o_date, o_total, o_ship_addr_id, o_status) select i % 2880 + 1, timestamp '2026-01-01' + i * interval '1 minute',
	20 + i % 200, i % 5760 + 1, 'SHIPPED' from generate_series(1, 2880) i;
insert into order_line select o, (o * 37 + l * 101) % 1000 + 1, 1 + (o + l) % 5, 0.1 from generate_series(1, 2880) o, generate_series(1, 3) l;
insert into cc_xacts select i, 'VISA', (4000000000000000 + i)::text, 20 + i % 200, timestamp '2026-01-01' + i * interval '1 minute'
	from generate_series(1, 2880) i;

create index on item (i_subject, i_pub_date desc);
create index on item (i_a_id);
create index on item (i_title text_pattern_ops);
create index on author (a_lname text_pattern_ops);
create index on orders (o_c_id, o_id desc);
vacuum analyze;
