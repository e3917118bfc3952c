// table.cpp — the kernels of one ISA.
#include "../isa.h"
#include "vec.h"

#define TAPWISE_STRING(x) #x
#define TAPWISE_NAME(x) TAPWISE_STRING(x)

namespace tapwise::ISA {

#define KERNEL(name, type) type name;
#include "../kernels.inc"
#undef KERNEL

extern const Table kTable;
const Table kTable = {
    TAPWISE_NAME(ISA),
    kLanes,
    kPanel,
    kTilePixels,
#define KERNEL(name, type) name,
#include "../kernels.inc"
#undef KERNEL
};

}  // namespace tapwise::ISA
