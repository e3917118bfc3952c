// cost.h — the cost model of decision 2: seconds that a plan would take, from a few numbers per ISA.
#pragma once

#include "plan.h"

namespace tapwise {

// Of the direct method, whatever the plan does: two for each product, the same for every pass.
double operations(const Conv& s);

// What a call whose weights aren't packed takes longer.
double packing_seconds(const Plan&);

// With packed weights. s must be simplified, and the plan its own. A pure function: `cores` are assumed to be free.
double expected_seconds(const Conv& s, Pass, const Plan&, const Table&, int cores);

}  // namespace tapwise
