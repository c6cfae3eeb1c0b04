// The routing key: a unit's name, by which a caller stays with its variant. Pure.

#pragma once

#include "abi.h"

enum { LONGEST_KEY = 1024, FAULT_ROOM = 100 };  // bytes

// Whether one is fit; where it is not, writes why into `fault`.
bool is_key(view key, char fault[FAULT_ROOM]);
