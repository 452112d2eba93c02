/* SPDX-License-Identifier: GPL-2.0 */
/* order.cpp - orders and results as lines. */
#include "order.h"

#include <sstream>

#include "../socket/check.h"

namespace xway::fuzz {

using test::Failure;

std::string Await::text() const {
    return std::string(1, static_cast<char>(kind)) + " " + std::to_string(handle) + " " +
           std::to_string(amount);
}

std::string Order::line() const {
    std::ostringstream out;
    out << "O " << static_cast<int>(what) << ' ' << port << ' ' << connection << ' ' << block << ' '
        << delay_ms << ' ' << amount << ' ' << awaits.size();
    for (const Await& await : awaits)
        out << ' ' << await.text();
    out << " : " << step.text();
    return out.str();
}

Order Order::parse(const std::string& line) {
    std::istringstream in(line);
    Order order;
    char letter = 0, kind = 0;
    int what = 0;
    std::size_t count = 0;
    in >> letter >> what >> order.port >> order.connection >> order.block >> order.delay_ms >>
        order.amount >> count;
    for (; in && count > 0; count--) {
        Await await;
        in >> kind >> await.handle >> await.amount;
        await.kind = static_cast<Await::Kind>(kind);
        order.awaits.push_back(await);
    }
    in >> kind;
    std::string rest;
    std::getline(in, rest);
    const auto step = Step::parse(rest);
    if (!in || letter != 'O' || kind != ':' || !step)
        throw Failure("not an order: " + line);
    order.what = static_cast<What>(what);
    order.step = *step;
    return order;
}

std::string Result::line() const {
    std::ostringstream out;
    out << "R " << value << ' ' << port << ' ' << calls << ' ' << lost << ' ' << text;
    return out.str();
}

Result Result::parse(const std::string& line) {
    std::istringstream in(line);
    Result result;
    char letter = 0;
    in >> letter >> result.value >> result.port >> result.calls >> result.lost;
    if (!in || letter != 'R')
        throw Failure("not a result: " + line);
    in.get();
    std::getline(in, result.text);
    return result;
}

} // namespace xway::fuzz
