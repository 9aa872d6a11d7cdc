TAX = {"tea": 0.07, "wine": 0.19}


def gross(item: str, net: float) -> float:
    return round(net * (1 + TAX[item]), 2)
