// cost.h — the seconds that a plan is expected to take on a device: computed, no device has contradicted it yet.
#pragma once

#include "device.h"
#include "ops.h"

namespace tapwise::cuda {

// Of the direct method, whatever the plan does: two for each product, the same for every pass.
double operations(const Conv&);

// A pure function, with weights laid out as arrays have them: views don't change a choice.
double expected_seconds(const Conv&, Pass, const Plan&, const Device&);

}  // namespace tapwise::cuda
