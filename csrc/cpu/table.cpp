// table.cpp — the kernels of one ISA. With TAPWISE_BASE they are that level's but for those of low_precision.inc:
// float32 has the same bits on both, and is compiled once.
#include "../isa.h"
#include "vec.h"

#ifdef TAPWISE_BASE
namespace tapwise::TAPWISE_BASE {
#define KERNEL(name, type) type name;
#include "../kernels.inc"
#undef KERNEL
}  // namespace tapwise::TAPWISE_BASE
#endif

namespace tapwise::ISA {

#define KERNEL(name, type) type name;
#ifdef TAPWISE_BASE
using namespace TAPWISE_BASE;  // hidden by the names declared here
#include "../low_precision.inc"
#else
#include "../kernels.inc"
#endif
#undef KERNEL

extern const Table kTable;
const Table kTable = {
    TAPWISE_ISA_NAME,
    kLanes,
    kPanel,
    kTilePixels,
#define KERNEL(name, type) name,
#include "../kernels.inc"
#undef KERNEL
};

}  // namespace tapwise::ISA
