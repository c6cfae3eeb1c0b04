// A chain: what each attempt of a call asks for, as the route has written it into a header. Pure.
//
// `2,2,1,small/3`: attempts one and two ask for version 2, three for version 1, four for version 3 of the model `small`.

#pragma once

#include "message.h"

enum { LONGEST_FIELDS = 2 * (2 + LONGEST_NAME) };

typedef struct {
  view version;                  // in the chain's text
  size_t size;                   // bytes of `fields`
  char fields[LONGEST_FIELDS];   // what makes a message ask for it when appended: the last value of a field wins
} target;

// The target of the n-th attempt, from 1 on. False where the chain has none, or not one that can be written.
bool target_of(view chain, unsigned long attempt, target *found);
