<?php
// SPDX-License-Identifier: GPL-2.0
// shop.php - the bookshop's application tier: TPC-W's fourteen interactions as pages. The database and the cache of search
// results and best sellers are on another host; what goes wrong becomes status 500.
//
//   /?p=PAGE&c=CUSTOMER&i=ITEM&s=SUBJECT

const DATABASE = 'host=c dbname=shop user=postgres sslmode=disable';
const CACHE_HOST = 'c';
const CACHE_SECONDS = 30;
const BEST_OF_ORDERS = 3333;		// TPC-W 1.8, clause 2.7.3.1: best sellers are those of the latest orders
const LISTED = 50;
const SUBJECTS = 24;

function ask(string $sql, mixed ...$values): array
{
	static $database = null;
	$database ??= pg_pconnect(DATABASE) ?: throw new RuntimeException('no database');
	$result = pg_query_params($database, $sql, $values) ?: throw new RuntimeException(pg_last_error($database));
	return pg_fetch_all($result);
}

function one(string $sql, mixed ...$values): array
{
	return ask($sql, ...$values)[0] ?? throw new RuntimeException("nothing found: $sql");
}

function cached(string $key, string $sql, mixed ...$values): array
{
	static $cache = null;
	if (!$cache) {
		$cache = new Memcached('shop');
		if (!$cache->getServerList())
			$cache->addServer(CACHE_HOST, 11211);
	}
	$rows = $cache->get($key);
	if ($rows === false) {
		$rows = ask($sql, ...$values);
		$cache->set($key, $rows, CACHE_SECONDS) || throw new RuntimeException('no cache: ' . $cache->getResultMessage());
	}
	return $rows;
}

function table(array $rows): string
{
	$lines = array_map(fn($row) => '<tr><td>' . implode('</td><td>', array_map('htmlspecialchars', $row)) . '</td></tr>', $rows);
	return "<table>\n" . implode("\n", $lines) . "\n</table>";
}

function promotions(int $item): string
{
	return table(ask('select r.i_id, r.i_title, r.i_srp from item i join item r on r.i_id = any(i.i_related) where i.i_id = $1', $item));
}

function cart(int $customer): array
{
	return ask('select scl_i_id, i_title, i_cost, scl_qty from cart_line join item on i_id = scl_i_id where scl_c_id = $1 order by 1', $customer);
}

function customer(int $customer): string
{
	return table([one('select c_fname, c_lname, c_phone, c_email, c_discount, addr_street, addr_city, addr_zip, addr_country from customer '
		. 'join address on addr_id = c_addr_id where c_id = $1', $customer)]);
}

function best(int $subject): array
{
	return cached("best-$subject", 'select i_id, i_title, a_fname, a_lname, sum(ol_qty) from order_line join item on i_id = ol_i_id '
		. 'join author on a_id = i_a_id where ol_o_id > (select max(o_id) from orders) - $1::int and i_subject = $2 '
		. 'group by 1, 2, 3, 4 order by 5 desc, 1 limit $3', BEST_OF_ORDERS, $subject, LISTED);
}

function search(int $item): array
{
	$begins = substr(md5((string)$item), 0, 2) . '%';
	[$by, $what] = [['i_title like', $begins], ['a_lname like', $begins], ['i_subject =', $item % SUBJECTS]][$item % 3];
	return cached("search-$item", "select i_id, i_title, a_fname, a_lname from item join author on a_id = i_a_id where $by \$1 "
		. 'order by i_title limit $2', $what, LISTED);
}

function add_to_cart(int $customer, int $item): void
{
	ask('insert into cart_line values ($1, $2, 1) on conflict (scl_c_id, scl_i_id) do update set scl_qty = cart_line.scl_qty % 9 + 1',
		$customer, $item);
}

function buy(int $customer, int $item): string
{
	add_to_cart($customer, $item);
	ask('begin');
	$lines = cart($customer);
	$total = array_sum(array_map(fn($line) => $line['i_cost'] * $line['scl_qty'], $lines));
	$order = one("insert into orders (o_c_id, o_date, o_total, o_ship_addr_id, o_status) select \$1, now(), \$2, c_addr_id, 'PENDING' "
		. 'from customer where c_id = $1 returning o_id', $customer, $total)['o_id'];
	ask('insert into order_line select $1, scl_i_id, scl_qty, 0 from cart_line where scl_c_id = $2', $order, $customer);
	// In the order of their numbers, so that two buyers of the same items do not lock each other out.
	foreach ($lines as $line)
		ask('update item set i_stock = case when i_stock < $2::int + 10 then i_stock - $2::int + 21 else i_stock - $2::int end where i_id = $1',
			$line['scl_i_id'], $line['scl_qty']);
	ask("insert into cc_xacts values (\$1, 'VISA', '4000', \$2, now())", $order, $total);
	ask('delete from cart_line where scl_c_id = $1', $customer);
	ask('commit');
	return "<p>order $order: $total</p>" . table($lines);
}

function last_order(int $customer): string
{
	$order = one('select o_id, o_date, o_total, o_status from orders where o_c_id = $1 order by o_id desc limit 1', $customer);
	return table([$order]) . table(ask('select i_id, i_title, ol_qty from order_line join item on i_id = ol_i_id where ol_o_id = $1',
		$order['o_id']));
}

function page(string $name, int $customer, int $item, int $subject): string
{
	$detail = 'select i_title, a_fname, a_lname, i_pub_date, i_publisher, i_desc, i_srp, i_cost, i_stock, i_isbn, i_page from item '
		. 'join author on a_id = i_a_id where i_id = $1';
	switch ($name) {
	case 'home':
		return customer($customer) . promotions($item);
	case 'new_products':
		return table(ask('select i_id, i_title, a_fname, a_lname from item join author on a_id = i_a_id where i_subject = $1 '
			. 'order by i_pub_date desc, i_title limit $2', $subject, LISTED));
	case 'best_sellers':
		return table(best($subject)) . promotions($item);
	case 'product_detail':
		return table([one($detail, $item)]);
	case 'search_request':
		return promotions($item) . '<form><input name="search"></form>';
	case 'search_results':
		return table(search($item)) . promotions($item);
	case 'shopping_cart':
		add_to_cart($customer, $item);
		return table(cart($customer)) . promotions($item);
	case 'customer_registration':
		return '<form><input name="user"><input name="password"></form>';
	case 'buy_request':
		return customer($customer) . table(cart($customer));
	case 'buy_confirm':
		return buy($customer, $item);
	case 'order_inquiry':
		return customer($customer) . '<form><input name="order"></form>';
	case 'order_display':
		return customer($customer) . last_order($customer);
	case 'admin_request':
		return table([one($detail, $item)]) . '<form><input name="price"></form>';
	case 'admin_confirm':
		ask('update item set i_cost = i_cost + 1 - 2 * (i_cost > 80)::int, i_pub_date = current_date where i_id = $1', $item);
		return table([one($detail, $item)]) . table(best($subject));
	}
	throw new RuntimeException("no page $name");
}

try {
	$body = page($_GET['p'] ?? '', (int)($_GET['c'] ?? 0), (int)($_GET['i'] ?? 0), (int)($_GET['s'] ?? 0));
	echo "<!DOCTYPE html>\n<html><head><title>Bookshop</title></head><body>\n$body\n</body></html>\n";
} catch (Throwable $error) {
	http_response_code(500);
	error_log($error->getMessage());
}
